//! What will happen in the next days.

use pollster::block_on;
use serde_json::json;
use xks_core::KeyId;
use xks_lifecycle::{
    Rotation, ScheduleId, Timestamp,
    key_state::KeyCommand,
    schedule::{Happening, JitterMinutes, Task, Upcoming},
};

use super::site::{cron, every, give, rotates, rotates_monthly, run, schedule, scheduler};
use crate::{
    commands::world::{DAY, START, World, alice},
    support::at,
};

/// The days and seconds from the start, and what.
fn shown(upcoming: &[Upcoming]) -> Vec<(u64, u64, String)> {
    let since = |time: Timestamp| time.seconds() - START;
    let what = |happening: &Happening| match happening {
        Happening::Scheduled {
            task: Task::RotateKey(key),
            ..
        } => format!("rotate {key}"),
        Happening::KeyExpires(key) => format!("expire {key}"),
        other => panic!("{other:?}"),
    };
    let shown = |upcoming: &Upcoming| {
        let since = since(upcoming.time);
        (since / DAY, since % DAY, what(&upcoming.happening))
    };
    upcoming.iter().map(shown).collect()
}

fn days(days: u64) -> Timestamp {
    at(START + days * DAY)
}

struct Three {
    world: World,
    schedules: [ScheduleId; 2],
    keys: [KeyId; 3],
}

/// One key rotates each ten days, one each Monday at 08:00, which is three days after the start; one never.
fn three() -> Three {
    let world = World::new();
    let schedules = [every(10), cron("0 8 * * MON", "UTC")].map(|timing| schedule(&world, timing).id);
    give(&world, world.vault, Some(schedules[0]));
    let keys = ["a", "b", "c"].map(|name| world.create(world.vault, name).key.id);
    rotates(&world, &keys[1], Rotation::By(schedules[1]));
    rotates(&world, &keys[2], Rotation::Never);
    Three { world, schedules, keys }
}

#[test]
fn what_will_happen_is_listed_in_its_order() {
    let Three {
        world, keys: [a, b, c], ..
    } = three();
    world.change(&a, KeyCommand::SetExpiry(Some(days(20)))).unwrap();
    world.change(&c, KeyCommand::SetExpiry(Some(days(11)))).unwrap();
    let mut expected = [
        (3, 0, format!("rotate {b}")),
        (10, 0, format!("rotate {a}")),
        (10, 0, format!("rotate {b}")),
        (11, 0, format!("expire {c}")),
        (17, 0, format!("rotate {b}")),
        // It does not rotate when it expires, nor later.
        (20, 0, format!("expire {a}")),
        (24, 0, format!("rotate {b}")),
        (31, 0, format!("rotate {b}")),
    ];
    expected[1..3].sort();
    assert_eq!(shown(&world.commands.upcoming(days(31), 100)), expected);
    for limit in 0..expected.len() {
        assert_eq!(shown(&world.commands.upcoming(days(1000), limit)), expected[..limit]);
    }
    let to_the_second = at(days(31).seconds() - 1);
    assert_eq!(shown(&world.commands.upcoming(to_the_second, 100)), expected[..7]);
    world.change(&b, KeyCommand::Disable).unwrap();
    world.change(&c, KeyCommand::Disable).unwrap();
    let only_a: Vec<_> = expected
        .into_iter()
        .filter(|(.., what)| what.ends_with(a.as_str()))
        .collect();
    assert_eq!(shown(&world.commands.upcoming(days(31), 100)), only_a);
}

/// What the list says happens.
#[test]
fn what_is_listed_happens() {
    let Three {
        world,
        schedules,
        keys: [a, b, _],
    } = three();
    let mut spread = world
        .commands
        .read(|snapshot| (**snapshot.schedule(schedules[0]).unwrap()).clone());
    spread.jitter = JitterMinutes::new(600).unwrap();
    block_on(world.commands.update(alice(), spread, None)).unwrap();
    let listed = world.commands.upcoming(days(60), 100);
    assert!(listed.len() > 10, "{listed:?}");
    let mut scheduler = scheduler(&world);
    for upcoming in &listed {
        let Happening::Scheduled {
            task: Task::RotateKey(key),
            schedule,
        } = &upcoming.happening
        else {
            panic!("{upcoming:?}")
        };
        assert_eq!(*schedule, schedules[usize::from(*key == b)]);
        assert!([&a, &b].contains(&key));
        let now = world.commands.now();
        world.wait_seconds(upcoming.time.seconds() - now.seconds() - u64::from(upcoming.time > now));
        run(&mut scheduler);
        assert_eq!(scheduler.next_due(), Some(upcoming.time));
        world.wait_seconds(world.commands.now().seconds().abs_diff(upcoming.time.seconds()));
        assert_eq!(run(&mut scheduler), std::slice::from_ref(key));
    }
    assert!(scheduler.next_due() > Some(days(60)));
}

#[test]
fn what_is_overdue_is_listed_with_its_time_and_once() {
    let Three {
        world, keys: [a, ..], ..
    } = three();
    world.wait(45);
    let listed = shown(&world.commands.upcoming(days(60), 100));
    let of_a: Vec<_> = listed
        .iter()
        .filter(|(.., what)| what.ends_with(a.as_str()))
        .map(|(day, ..)| *day)
        .collect();
    assert_eq!(of_a, [10, 55]);
}

#[test]
fn the_list_has_one_form_in_json() {
    let Three {
        world,
        schedules,
        keys: [a, b, c],
    } = three();
    world.change(&c, KeyCommand::SetExpiry(Some(days(5)))).unwrap();
    let listed = serde_json::to_value(world.commands.upcoming(days(5), 100)).unwrap();
    assert_eq!(
        listed,
        json!([
            {
                "time": "2027-01-18T08:00:00Z",
                "happening": {"scheduled": {"task": {"rotate_key": b}, "schedule": schedules[1]}},
            },
            {"time": "2027-01-20T08:00:00Z", "happening": {"key_expires": c}},
        ]),
        "{a}"
    );
}

/// More keys than are looked at at once.
#[test]
fn all_of_many_keys_are_listed() {
    let world = World::new();
    rotates_monthly(&world, world.vault);
    let mut made: Vec<_> = (0..2100).map(|_| world.create(world.vault, "a").key.id).collect();
    made.sort();
    let listed = world.commands.upcoming(days(30), 5000);
    let expected: Vec<_> = made.iter().map(|id| (30, 0, format!("rotate {id}"))).collect();
    assert_eq!(shown(&listed), expected);
}
