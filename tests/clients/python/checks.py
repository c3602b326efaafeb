"""Runs the cases of one client program: a line for each, and an exit status that is not zero after a failure.

A case is a function whose name is its line. One that fails does not stop those behind it.
"""

import os
import sys
import traceback

ENDPOINT = os.environ["STRATA_ENDPOINT"]
HOST = ENDPOINT.removeprefix("http://")
ACCESS_KEY, SECRET_KEY = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
# What every client sends in parts.
BIG = os.urandom((20 << 20) + 7)
# More than one page of a list and one batch of a delete hold.
MANY = 1001
# Names that clients and servers have escaped in different ways.
ODD_KEYS = [
    "odd/" + name
    for name in ["sp ace", "pl+us", "ä ö/ü%", "100%25", "q?x=1&y#z", "日本語", "!*'()~", "semi;colon,@$=:"]
]
CASES = []


def case(function):
    """Registers a case."""
    CASES.append(function)
    return function


def same(what, got, sent):
    """Compares the bytes that came back with those that were sent."""
    if got == sent:
        return
    at = next((at for at, (one, other) in enumerate(zip(got, sent)) if one != other), min(len(got), len(sent)))
    raise AssertionError(f"{what}: {len(got)} bytes came back, {len(sent)} were sent, the first difference is at {at}")


def main(client):
    """Runs the cases in their order and ends the program."""
    failed = False
    for function in CASES:
        name = function.__name__.replace("_", " ")
        try:
            function()
            print(f"ok      {client}: {name}", flush=True)
        except Exception:
            failed = True
            print(f"FAILED  {client}: {name}")
            print("        " + traceback.format_exc().strip().replace("\n", "\n        "), flush=True)
    sys.exit(failed)
