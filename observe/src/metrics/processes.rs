//! Metrics of processes, the primary's and the workers': their event loops, their runtimes, and what the kernel knows.

use crate::core::{Descriptions, Loop, runtime_number};
use crate::exposition::{Exposition, Kind, Labels, Number, seconds};
use crate::process::{Usage, unix_time};
use crate::view::{Process, View};
use crate::watch::Activity;

/// A process, what is shown of it, and its label.
struct Subject<'a> {
    label: Option<&'a str>,
    shown: Option<&'a Loop>,
    process: &'a Process,
}

/// Several processes that have the same metrics, under one prefix.
struct Subjects<'a, 'b> {
    to: &'a mut Exposition,
    prefix: &'static str,
    all: &'a [Subject<'b>],
}

pub fn add(to: &mut Exposition, view: &View, descriptions: &Descriptions) {
    let primary = Subject { label: None, shown: view.snapshot.primary.as_ref(), process: &view.primary };
    if let Some(began_at) = view.began_at {
        to.family(
            Kind::Gauge,
            "corral_primary_start_time_seconds",
            "When the primary's process began, in seconds since 1970.",
        )
        .sample(&[], began_at);
    }
    Subjects { to, prefix: "corral_primary", all: &[primary] }.add(descriptions);
    let ids: Vec<_> = view.snapshot.workers.iter().map(|worker| worker.id.to_string()).collect();
    let workers: Vec<_> = view
        .all_workers()
        .zip(&ids)
        .map(|((worker, process), id)| Subject {
            label: Some(id),
            shown: worker.event_loop.as_ref(),
            process,
        })
        .collect();
    Subjects { to, prefix: "corral_worker", all: &workers }.add(descriptions);
}

impl Subjects<'_, '_> {
    fn add(&mut self, descriptions: &Descriptions) {
        self.event_loop(descriptions);
        self.runtime();
        self.kernel();
    }

    /// Adds a family with one sample for each process for which there is a value.
    fn each<T: Into<Number>>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        value: impl Fn(&Subject<'_>) -> Option<T>,
    ) {
        self.several(kind, name, help, |subject, add| {
            if let Some(value) = value(subject) {
                add(&[], value.into());
            }
        });
    }

    /// The same with any number of samples, each with labels of its own behind the worker's.
    fn several(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        samples: impl Fn(&Subject<'_>, &mut dyn FnMut(&Labels<'_>, Number)),
    ) {
        let name = format!("{}_{name}", self.prefix);
        let mut family = self.to.family(kind, &name, help);
        for subject in self.all {
            samples(subject, &mut |labels, value| {
                let worker = subject.label.map(|id| ("worker", id));
                let labels: Vec<_> = worker.into_iter().chain(labels.iter().copied()).collect();
                family.sample(&labels, value);
            });
        }
    }

    fn event_loop(&mut self, descriptions: &Descriptions) {
        let activity = |value: fn(Activity) -> Option<f64>| {
            move |subject: &Subject<'_>| subject.process.activity.and_then(value)
        };
        self.each(
            Kind::Counter,
            "event_loop_turns",
            "How often the event loop has looked for events.",
            |subject| Some(subject.shown?.turns),
        );
        self.each(
            Kind::Counter,
            "event_loop_busy_seconds",
            "Time for which the event loop did not wait for events.",
            activity(|activity| Some(activity.busy as f64 / 1e9)),
        );
        self.each(
            Kind::Gauge,
            "event_loop_utilization_ratio",
            "How much of the time the event loop has been busy lately, from 0 to 1.",
            activity(|activity| activity.utilization),
        );
        self.each(
            Kind::Gauge,
            "event_loop_blocked_seconds",
            "For how long the event loop has been at the same turn, as far as it was seen; 0 while it waits.",
            activity(|activity| activity.blocked_for.map(seconds)),
        );
        let name = format!("{}_event_loop_lag_seconds", self.prefix);
        let help =
            "How long the event loop was busy in one go: what happens meanwhile waits until it is done.";
        let mut lag = self.to.family(Kind::Histogram, &name, help);
        for subject in self.all {
            if let Some(shown) = subject.shown {
                let worker = subject.label.map(|id| ("worker", id));
                let labels: Vec<_> = worker.into_iter().collect();
                lag.histogram(&labels, &descriptions.bounds, &shown.busy_spells);
            }
        }
    }

    fn runtime(&mut self) {
        for (name, number, help) in [
            ("heap_used_bytes", "heapUsed", "Memory of V8's heap that is in use."),
            ("heap_total_bytes", "heapTotal", "Memory that V8 has for its heap."),
            ("heap_limit_bytes", "heapLimit", "Memory that V8 may have for its heap."),
            (
                "external_memory_bytes",
                "external",
                "Memory that JavaScript's objects have outside of V8's heap.",
            ),
            ("array_buffers_bytes", "arrayBuffers", "The part of that which Buffers and ArrayBuffers have."),
        ] {
            self.each(Kind::Gauge, name, help, |subject| subject.runtime(number));
        }
        const KINDS: [(&str, &str, &str); 4] = [
            ("minor", "minorCollections", "minorTime"),
            ("major", "majorCollections", "majorTime"),
            ("incremental", "incrementalCollections", "incrementalTime"),
            ("weak_callbacks", "weakCollections", "weakTime"),
        ];
        self.several(
            Kind::Counter,
            "garbage_collections",
            "Garbage collections, by kind.",
            |subject, add| {
                for (kind, count, _) in KINDS {
                    if let Some(count) = subject.runtime(count) {
                        add(&[("kind", kind)], count.into());
                    }
                }
            },
        );
        let help = "Time that the program stood still for garbage collections, by kind.";
        self.several(Kind::Counter, "garbage_collection_seconds", help, |subject, add| {
            for (kind, _, time) in KINDS {
                if let Some(nanos) = subject.runtime(time) {
                    add(&[("kind", kind)], Number::Real(nanos as f64 / 1e9));
                }
            }
        });
        let help = "How old the numbers of the heap and of garbage collections are: JavaScript has to run to show them.";
        self.each(Kind::Gauge, "runtime_age_seconds", help, |subject| {
            subject.runtime("shownAt").map(|millis| (unix_time() - millis as f64 / 1e3).max(0.0))
        });
    }

    fn kernel(&mut self) {
        let usage = |value: fn(&Usage) -> Option<Number>| {
            move |subject: &Subject<'_>| value(subject.process.usage.as_ref()?)
        };
        self.several(Kind::Counter, "cpu_seconds", "Processor time of the process.", |subject, add| {
            if let Some(usage) = &subject.process.usage {
                add(&[("mode", "user")], usage.user.into());
                add(&[("mode", "system")], usage.system.into());
            }
        });
        let help = "Processor time by thread: main runs JavaScript.";
        self.several(Kind::Counter, "thread_cpu_seconds", help, |subject, add| {
            for (name, time) in subject.process.usage.iter().flat_map(|usage| &usage.threads) {
                add(&[("thread", name)], (*time).into());
            }
        });
        self.each(
            Kind::Gauge,
            "threads",
            "Threads of the process.",
            usage(|usage| Some(usage.thread_count.into())),
        );
        let help = "Memory of the process that is in use.";
        self.each(Kind::Gauge, "resident_memory_bytes", help, usage(|usage| Some(usage.resident.into())));
        let help = "The same with what several processes have divided among them; some seconds old.";
        self.each(
            Kind::Gauge,
            "proportional_memory_bytes",
            help,
            usage(|usage| usage.proportional.map(Into::into)),
        );
        let help = "File descriptors of the process that are open.";
        self.each(Kind::Gauge, "open_fds", help, usage(|usage| usage.open_descriptors.map(Into::into)));
        let help = "File descriptors that the process may have open.";
        self.each(Kind::Gauge, "max_fds", help, usage(|usage| usage.max_descriptors.map(Into::into)));
    }
}

impl Subject<'_> {
    /// A number that its runtime has shown.
    fn runtime(&self, name: &str) -> Option<u64> {
        let numbers = &self.shown?.runtime;
        (runtime_number(numbers, "shownAt") > 0).then(|| runtime_number(numbers, name))
    }
}
