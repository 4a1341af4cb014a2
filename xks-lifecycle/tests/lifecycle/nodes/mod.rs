//! Several nodes: the life of a node and the wait of a command, explored exhaustively with
//! broken twins, and as they run over a store.

mod explorer;
mod lost;
mod promotion;
mod running;
mod scenarios;
mod sim;
mod usable;
mod world;
