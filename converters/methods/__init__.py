"""What papers do to a sample before a model sees it, and what it is then asked: one file a method.

Every method turns samples into `View`s: rows with an order and a branch, and targets with a weight each. What attends to what is
the one rule of visibility, and the loss of any method is the weighted sum of cross-entropies over the targets of its views; how
it is normalised is in the weights. A method knows no model.
"""
