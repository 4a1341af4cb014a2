//! Schedules: keys, the credentials of external key stores and KMS keys with imported material rotate by
//! themselves, every so many days or at local times of a time zone.
//!
//! ```text
//! Schedule ──▶ Timing::next_after(a time) ──▶ when a key is due ──▶ Commands::upcoming: what will happen
//!                                                   │
//!                                                   └──▶ Scheduler::run_due: Commands::rotate and others
//! ```
//!
//! # When a key is due
//! At the first time of its schedule, and its share of the jitter later, after the latest of
//! * its last rotation: when the version became the one that encrypts, or was made;
//! * when the key, or its key set, got this schedule;
//! * when the schedule got this timing.
//!
//! All of these are kept in UTC and authenticated, and due times are computed from them. So a time that was
//! missed, because no server ran, is made up once, whatever the number of times that were missed; a rotation
//! by hand counts; and a key that gets a schedule waits for the schedule's next time.
//!
//! Only a key that is enabled rotates. The expiry of a key is no work for a scheduler: from its time on,
//! every request sees it.
//!
//! # Keys near their limit
//! A key that is enabled rotates as soon as the scheduler sees that its version has three quarters reserved
//! of the 2^32 encryptions that it may make, whatever its schedule. Events say so.
//!
//! # Credentials
//! The credential of a key store rotates likewise, after the latest of when it was made and when the key
//! store got its schedule, or that its timing. The new one is live at once, and its secret waits for
//! [`Commands::take_secret`](crate::commands::Commands::take_secret). The former one goes on until the
//! overlap is over **and** a request was signed with the new one: then it is revoked. Before that, each
//! attempt to revoke it is refused, and an event says so: a rotation of which AWS KMS was not told stops
//! nothing.
//!
//! # KMS keys with imported material
//! A KMS key rotates likewise, after the latest of when its newest material was added, when the alias left
//! the former KMS key, or AWS rotated to the newest material, and when the KMS key or its key set got the
//! schedule, or that its timing. One that has [`ending_within`](crate::Import::ending_within) lets the times
//! pass at which the end of its material is further away. A KMS key rotates only while it is wanted enabled,
//! its newest material is in AWS, and [`expires`](crate::Import::expires) has not come: what has no material
//! yet, or whose rotation has not ended, waits. It is not the scheduler that rotates it, since that takes a
//! job, but who starts jobs, by [`CloudKeyRotation`].
//!
//! # Daylight saving time
//! Each local time happens once: when clocks are set forward over it, then; when it comes twice, the first
//! time.

mod claim;
mod cloud_key;
mod credential;
mod cron;
mod due;
mod scheduler;
mod timing;
mod upcoming;
mod zone;

pub use self::{
    cloud_key::CloudKeyRotation,
    cron::CronPattern,
    due::Task,
    scheduler::{Failure, Ran, Scheduler},
    timing::{JitterMinutes, PeriodDays, Timing},
    upcoming::{Happening, Upcoming},
    zone::TimeZone,
};
