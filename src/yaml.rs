//! Text to typed value, with line and column.
