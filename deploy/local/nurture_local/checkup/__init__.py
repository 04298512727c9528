"""`nurture doctor`: facts are gathered once (`subject`), then judged by pure functions into findings."""
