"""The web page of mtopt: people show, label and review, and see how well the success detector judges."""
