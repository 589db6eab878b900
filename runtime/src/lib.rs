//! The node's side: the agent that keeps pods running, and what they run in.

pub mod node;
