//! Scheduling policies: plain structs that decide who gets the next connection.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `policy` | the trait of a policy: its inputs, its decision, its guarantees |
//! | `assigned` | the program says whose a connection is: by a table, or of each |
//! | `choice` | which policy a server has, as settings describe it, and the one place that makes it |
//! | `example` | a policy that docs/policies.md walks through, for tests only |
//! | `load` | what a policy sees of a worker |
//! | `one_queue` | the default: a connection waits for the first worker that is idle |
//! | `round_robin` | the policy that gives connections to all workers in rotation |
//! | `least` | a connection goes to the worker with the fewest open ones |
//! | `turns` | whose turn it is among workers of different weights |
//! | `sticky` | which worker a client belongs to |
//! | `sessions` | the sessions that workers have begun |
//! | `fairness` | how long idle workers wait for busy ones |

mod assigned;
mod choice;
#[cfg(test)]
mod example;
mod fairness;
mod least;
mod load;
mod one_queue;
mod policy;
mod round_robin;
mod sessions;
mod sticky;
#[cfg(test)]
mod tests;
mod turns;

pub use assigned::Table;
#[cfg(test)]
pub use choice::Made;
pub use choice::{AcceptMode, AskedProgram, Fallback, PolicyChoice};
#[cfg(test)]
pub use example::FewestWorkers;
pub use load::{Availability, Load, Loads, Open};
pub use policy::{Incoming, Policy, Session};
pub use sessions::{Binding, Sessions};
pub use sticky::{SessionMaker, Slots, StickyChoice, WorkerSlot};
pub use turns::Weight;
