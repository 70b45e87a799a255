"""Tables for LaTeX: what stands in them, and that LaTeX would read the words as they are."""

from __future__ import annotations

import re

from ham.report.latex import escape_latex, latex_table


def test_a_table_has_the_rules_of_booktabs() -> None:
    assert latex_table(["system", "x/all"], [["am_softmax-2", "-0.35 [-1.11, +0.40]"], ["[b]", "-"]]) == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"system & x/all \\",
        r"\midrule",
        r"am\_softmax-2 & $-$0.35 [$-$1.11, +0.40] \\",
        r"{[b]} & - \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_nothing_that_latex_interprets_is_left() -> None:
    text = "a&b %c $d #e _f {g} ~h ^i \\j <k> |l|\nm"
    escaped = escape_latex(text)
    bare = re.sub(r"\\(?:[a-z]+\{\}|[&%$#_{}])", "", escaped)
    assert bare == "ab c d e f g h i j k lm".replace("lm", "l m")
