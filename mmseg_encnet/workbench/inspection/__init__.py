"""What a data set holds: samples after their pipeline, class statistics, figures of both."""
