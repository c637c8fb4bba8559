//! From the first line to the last: sets the stage, tells the story, goes on if asked to, and cleans up.

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::ground::{Folder, Ground};
use super::screen::Screen;
use super::stage::Stage;
use super::{Args, live, story};

/// What a shell expects of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// How the demo ended.
enum End {
    /// The story was told.
    Told,
    /// Ctrl-C, SIGTERM or a closed terminal, before the story was over.
    Interrupted,
}

/// Plays on a thread of its own: the nodes end with the thread that started them, and this one lives as long as the demo.
pub fn play(args: &Args) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    thread::scope(|scope| {
        let demo = thread::Builder::new().name("demo".to_owned()).spawn_scoped(scope, || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(direct(args, Screen::new(began)))
        });
        match demo.context("cannot start a thread")?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

async fn direct(args: &Args, screen: Screen) -> anyhow::Result<ExitCode> {
    let ground = Ground::take()?;
    let mut folder = Folder::make()?;
    if args.keep {
        folder.keep();
    }
    let mut stage = Stage::set(screen, ground.plan, folder.path()).await?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let end = tokio::select! {
        end = perform(args, &mut stage, &ground.passed) => end,
        _ = interrupt.recv() => Ok(End::Interrupted),
        _ = terminate.recv() => Ok(End::Interrupted),
        _ = hang_up.recv() => Ok(End::Interrupted),
    };
    if let Ok(End::Told) = &end
        && !args.once
    {
        live::invite(&mut stage);
        let watched = tokio::select! {
            watched = live::watch(&mut stage) => watched,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = hang_up.recv() => Ok(()),
        };
        stage.screen.line("\n  Ending: the nodes leave, the folder goes.");
        stage.fleet.stop().await;
        watched?;
        return Ok(ExitCode::SUCCESS);
    }
    let good = matches!(end, Ok(End::Told)) && stage.checks.failed().is_empty();
    let interrupted = matches!(end, Ok(End::Interrupted));
    if interrupted {
        stage.screen.line("\n  Ended before the story was over.");
    }
    stage.fleet.stop().await;
    if !good && !interrupted {
        folder.keep();
    }
    if !good && !interrupted || args.keep {
        stage.screen.line(&format!("  Configurations, state and logs: {}", folder.path().display()));
    }
    match end {
        Ok(End::Told) if good => Ok(ExitCode::SUCCESS),
        Ok(End::Told) => Ok(ExitCode::FAILURE),
        Ok(End::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
        Err(error) => Err(error),
    }
}

async fn perform(args: &Args, stage: &mut Stage, passed: &[u8]) -> anyhow::Result<End> {
    let figures = story::tell(stage, passed).await?;
    story::sum_up(stage, &figures);
    if args.once && stage.checks.failed().is_empty() {
        stage.screen.line(&format!("\nThe whole story took {:.1} s.", stage.screen.elapsed().as_secs_f64()));
    }
    Ok(End::Told)
}
