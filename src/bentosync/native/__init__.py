"""The compiled core and its pure-Python twin, behind one choice.

`select` chooses, `twin` is the choice that always works, `_core` is built from the C++ sources in the repository's
`native/` folder when there is a compiler. Whatever is chosen gives the same answers; the same tests hold for all.
"""
