//! Services and clients that are killed, and what becomes of the others.
//!
//! This executable is also a service that is killed, and a client that is.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
fn main() {
    killed::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod killed {
    use super::common::farm::*;
    use super::common::others::*;
    use super::common::service::*;
    use super::common::work::*;
    use super::common::*;
    use coros::cluster::{Event, Target, worker};
    use coros::{JobError, Scheduler};
    use libtest_mimic::Arguments;

    async fn a_service_that_is_killed_while_it_gets_the_program_gets_it_again() {
        let farm = Farm::of([1]).await;
        let (service, mut words) = service_process(&farm).await;
        let node = farm.client().await;
        let scheduler = tokio::spawn(quiet(Scheduler::at(&node)).start());
        assert_eq!(word(&mut words).await, "came");
        kill(service).await;
        let (service, mut words) = service_process(&farm).await;
        let scheduler = scheduler.await.unwrap().unwrap();
        assert_eq!(word(&mut words).await, "came");
        assert_eq!(word(&mut words).await, "received");
        assert_eq!(scheduler.run(square(3)).await, Ok(9));
        scheduler.close().await.unwrap();
        kill(service).await;
        farm.close().await;
    }

    async fn a_service_that_was_killed_goes_on_when_it_is_back() {
        let farm = Farm::of([2, 2]).await;
        let (service, _words) = service_process(&farm).await;
        let scheduler = quiet(Scheduler::at(&farm.client().await))
            .start()
            .await
            .unwrap();
        let mut events = scheduler.events();
        workers(&mut events, 4).await;
        let (to, mut begun) = told::<Begun>();
        let of = |name: &str| computes(name.to_owned(), to.clone());
        let goes_on = scheduler.submit(of("goes on"));
        let once = scheduler.submit(of("once").retries(0));
        let there = scheduler.submit(of("there").at(Target::node("farm-1")));
        let mut running = Vec::new();
        for _ in 0..3 {
            running.push(next(&mut begun).await);
        }
        let many: Vec<_> = (0..2000).map(|n| scheduler.submit(square(n))).collect();
        kill(service).await;
        let lost = |event: &Event| matches!(event, Event::ServiceLost { .. }).then_some(());
        until(&mut events, lost).await;
        let error = once.await.unwrap_err();
        assert!(
            matches!(error, JobError::Abandoned { losses: 1, .. }),
            "{error}"
        );
        assert_eq!(
            there.await,
            Err(JobError::TargetLost(Target::node("farm-1")))
        );
        for it in running {
            ended(it.pid).await;
        }
        let late = scheduler.submit(square(9));

        let (service, _words) = service_process(&farm).await;
        // The same address has travelled to another worker.
        let Begun { of, end, .. } = next(&mut begun).await;
        assert_eq!(of, "goes on");
        end.send(()).unwrap();
        goes_on.await.unwrap();
        for (n, job) in (0..).zip(many) {
            assert_eq!(job.await, Ok(n * n));
        }
        assert_eq!(late.await, Ok(81));
        assert!(begun.try_recv().is_err(), "what has ended runs again");
        scheduler.close().await.unwrap();
        for daemon in &farm.daemons {
            idle(daemon).await;
        }
        kill(service).await;
        farm.close().await;
    }

    async fn nothing_is_left_of_a_client_that_was_killed() {
        let (farm, service) = farm_with_service([1]).await;
        let peers = [endpoint(service.node()).to_string()];
        let elsewhere = elsewhere();
        let folder = elsewhere.path().to_str().unwrap();
        let (client, mut words) = process(&farm, CLIENT, folder, &peers).await;
        let pid = word(&mut words).await;
        turns(&service, &[true]).await;
        kill(client).await;
        ended(pid.parse().unwrap()).await;
        turns(&service, &[]).await;
        idle(&farm.daemons[0]).await;
        let work = farm.folder("farm-1").join("work");
        assert_eq!(std::fs::read_dir(work).unwrap().count(), 0);
        // Others go on.
        let other = at(&farm, &service).await;
        assert_eq!(other.run(square(3)).await, Ok(9));
        other.close().await.unwrap();
        farm.daemons[0].close().await;
        nothing_is_left(&farm.folder("farm-1"), elsewhere.path());
        close(farm, service).await;
    }

    pub(super) fn main() {
        worker::enter();
        enter();
        let trials = trials![
            a_service_that_was_killed_goes_on_when_it_is_back,
            a_service_that_is_killed_while_it_gets_the_program_gets_it_again,
            nothing_is_left_of_a_client_that_was_killed,
        ];
        libtest_mimic::run(&Arguments::from_args(), trials).exit();
    }
}
