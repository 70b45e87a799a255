"""A page to try a model in the browser: two recordings compared, speakers enrolled and named.

It is served by the standard library and draws with what every browser brings: no dependency, 50 kB, and no request to
any other server. Gradio 6.31, with which demos are often made, is a wheel of 31 MB that needs 51 further packages, of
which this project has 22 already.
"""
