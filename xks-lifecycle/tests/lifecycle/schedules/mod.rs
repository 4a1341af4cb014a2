//! Schedules: when they are due, what runs then, and what is known of it before.

mod claims;
mod cloud_keys;
mod credentials;
mod kept;
mod near_limit;
mod scheduler;
mod site;
mod timing;
mod upcoming;
