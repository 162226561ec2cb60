//! Tests of a bad day: what real servers and the way to them do wrong, through a fault proxy.

mod certificates;
mod connections;
mod files;
mod hangs;
mod health;
mod kills;
mod life;
mod neighbours;
mod other_host;
mod proxy;
mod replies;
mod slow;
mod watches;
