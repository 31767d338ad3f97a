"""How fast vaegan is, beside other ways to train the same model: `make bench`. Not part of the tests, nor of the wheel."""
