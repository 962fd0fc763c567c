"""The settings of an application by a look at its repository: none of its code runs."""
