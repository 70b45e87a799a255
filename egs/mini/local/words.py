"""The words that the synthetic speakers say: common, short, and drawn at random, so that content tells nothing."""

from __future__ import annotations

import numpy as np

_LINES = """
able about above across after again age air all almost alone along always among animal answer apple area arm
around ask autumn away baby back bad bag ball bank bath bear beautiful bed before begin behind bell below best
better between big bird black blue boat body bone book both bottom box boy branch bread break bridge bright
bring broken brother brown build burn busy butter button call captain car care carry cat catch centre chair
chance change cheese child choose church circle city clean clear clock cloud coat coffee cold colour come cook
cool copper corn corner cotton country cousin cover cow cross cry cup cut dance dark daughter day dear deep
desk different dinner doctor dog door double down draw dream dress drink drive drop dry during each early
earth east easy eat egg eight empty engine enough evening every eye face fall family famous far farm fast
father feather feed field fight finger finish fire first fish five floor flower fly follow food foot forest
fork forget four fresh friend front fruit full funny garden gate gentle girl give glass glove gold good grass
great green ground group grow half hammer hand happy hard hat head hear heart heavy help high hill history
hold holiday home honey hope horse hospital hot hour house hundred ice idea inside island jacket join joy jump
keep kettle key kind king kitchen knee knife know ladder lake land language large last late laugh leaf learn
leave left leg lemon letter light line lion little long look love low lucky lunch machine many map market
matter meadow meal measure meat meet middle milk million minute mirror money month moon morning mother
mountain mouth move music narrow near neck needle never new night nine noise north nose nothing number ocean
office often oil old only open orange other outside over page paint pair paper parcel park part party past
pencil people pepper picture piece pillow place plane plant plate play please pocket point potato pour power
pretty pull purple push quarter queen question quick quiet rabbit rain reach ready reason red remember rest
rice ride right ring river road roof room root rope round rule run sad safe sail salt same sand school science
sea season second seed seven shade shape sharp sheep shelf ship shirt shoe shop short shoulder show side
silver simple sing sister six sky sleep slow small smile smoke snow soap soft soldier some song soon sound
soup south space speak spoon spring square stable stage stairs star start station stay stone story strange
street strong sugar summer sun sure sweet swim table tail take talk tall tea teach ten thank thick thin thing
think three through thumb thunder ticket tiger time today together tomato tomorrow tongue tooth top touch
tower town train travel tree trouble true turn twelve twenty two uncle under until useful valley very village
visit voice wait walk wall warm wash watch water weather week west wheel white wide wife wild window winter
wire wish woman wood word work world worry yard year yellow yesterday young zero
"""

WORDS: tuple[str, ...] = tuple(_LINES.split())
"""About five hundred words; none is long enough to last a second at the slowest rate."""


def draw_words(rng: np.random.Generator, count: int) -> list[str]:
    """Draw ``count`` words, each different from the one before it.

    Args:
        rng: the source of randomness.
        count: how many words, at least 1.

    Returns:
        The words in the order in which they are to be said.
    """
    steps = rng.integers(1, len(WORDS), size=count)
    return [WORDS[i] for i in np.cumsum(steps) % len(WORDS)]
