//! Several nodes: the life of a node and the wait of a command, explored exhaustively, and with broken twins.

mod explorer;
mod scenarios;
mod world;
