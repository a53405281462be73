"""The compiled core and its pure-Python twin, behind one choice."""
