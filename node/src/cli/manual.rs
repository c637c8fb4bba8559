//! Manual pages, the page of the reference and shell completions, made from the command line's own description, so that they cannot disagree.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Arg, ArgAction, Command, CommandFactory};

use super::{Cli, output};

/// The arguments of `nigh completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "nigh", &mut script);
        Ok(output::print(String::from_utf8_lossy(&script).trim_end())?)
    }
}

/// The arguments of `nigh man`, which is for those who make packages.
#[derive(Debug, clap::Args)]
pub(super) struct Manual {
    /// Where to write nigh.1, nigh-run.1 and so on
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Manual {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let folder = self.folder.display().to_string();
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {folder}"))?;
        clap_mangen::generate_to(Cli::command(), &self.folder).with_context(|| format!("cannot write to {folder}"))
    }
}

/// All commands, as a page of Markdown: `deploy/docs/reference/cli.md`.
pub fn reference() -> String {
    let mut program = Cli::command();
    program.build();
    let mut page = String::new();
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
    shown.for_each(|command| section(&mut page, command, "nigh"));
    page
}

fn section(page: &mut String, command: &Command, before: &str) {
    let name = format!("{before} {}", command.get_name());
    page.push_str(&format!("\n## {name}\n\n"));
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    page.push_str(&format!("{}\n", about.trim()));
    let subcommands: Vec<&Command> = command.get_subcommands().filter(|of| !of.is_hide_set()).collect();
    if subcommands.is_empty() {
        let mut usage = command.clone();
        let usage = usage.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        page.push_str(&format!("\n```text\n{usage}\n```\n"));
        let arguments: Vec<&Arg> =
            command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help").collect();
        if !arguments.is_empty() {
            page.push_str("\n| argument | what |\n|---|---|\n");
        }
        for argument in arguments {
            let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            page.push_str(&format!(
                "| `{}` | {help}{} |\n",
                written(argument).replace('|', "\\|"),
                beside(argument, &help)
            ));
        }
    }
    subcommands.into_iter().for_each(|of| section(page, of, &name));
}

/// As it is written on the command line.
fn written(argument: &Arg) -> String {
    let values: Vec<String> =
        argument.get_value_names().unwrap_or_default().iter().map(|value| value.to_string()).collect();
    let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    match (argument.get_long(), argument.get_short()) {
        (None, None) => values.join(" "),
        (long, short) => {
            let name =
                long.map(|long| format!("--{long}")).or(short.map(|short| format!("-{short}"))).unwrap_or_default();
            if takes && !values.is_empty() { format!("{name} {}", values.join(" ")) } else { name }
        }
    }
}

/// What its help leaves unsaid: the default, and which values there are.
fn beside(argument: &Arg, help: &str) -> String {
    if !matches!(argument.get_action(), ArgAction::Set | ArgAction::Append) || help.contains("[default") {
        return String::new();
    }
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let possible = argument.get_possible_values();
    let named: Vec<&str> = possible.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name()).collect();
    let mut said = String::new();
    if !named.is_empty() {
        said.push_str(&format!(" (one of {})", named.join(", ")));
    }
    if !defaults.is_empty() {
        said.push_str(&format!(" (default {})", defaults.join(" ")));
    }
    said
}
