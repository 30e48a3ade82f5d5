"""Reports on a dump: `explain`, `record`, what weighs, advice. They watch, and decide nothing."""
