"""``fdrl new``: small installable projects with an environment, a learner or a strategy.

`templates` holds a folder for each kind; `NAME` in a path and ``{{name}}``, ``{{Name}}``,
``{{title}}`` in a text stand for the project's name as a module, a class and in words.
"""
