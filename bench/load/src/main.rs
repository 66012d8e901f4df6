//! The load generator of bench/mixed.js: requests go out when they are due, whatever the servers do, and what each
//! waits counts from that moment. One thread serves all sockets, another one watches the clock.
//!
//! Jobs come in as lines of JSON, and each is answered with one.

mod clock;
mod connection;
mod job;
mod load;

use std::io::{self, BufRead, Write};
use std::sync::mpsc;
use std::{process, thread};

use job::Job;
use load::Load;

fn main() -> io::Result<()> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
        // The bench script has ended, however that came: a job that is under way is for nobody.
        process::exit(0);
    });
    let mut stdout = io::stdout().lock();
    for line in lines {
        let job: Job = serde_json::from_str(&line)?;
        let outcome = Load::new(&job)?.run()?;
        serde_json::to_writer(&mut stdout, &outcome)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}
