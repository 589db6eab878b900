//! How a new machine becomes a node.
