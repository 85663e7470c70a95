"""Networks of other people: files as engineers have them, and modules in any state. Nothing in a file is executed."""
