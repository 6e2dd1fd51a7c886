"""Private names of other libraries, a module for each: what they are needed for, and since when.

A private name may go with the next version. So each is used in its module here and nowhere else,
and `NAMES` says, by the public object that has it, why there is no other way; `SEEN` is the version
in which all of them were seen. The tests look for every one.
"""
