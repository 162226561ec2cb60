//! Commands run in containers of a virtual cluster as on its host.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;

use super::sides::Side;
use super::streams::{OPENERS, soon};

impl Side<'_> {
    pub(super) async fn commands_run(&self) -> Result<()> {
        for code in [0, 1, 42, 126, 127, 128, 137, 143, 255] {
            let exit = format!("echo out; echo err >&2; exit {code}");
            let output = self.attempt(&["exec", "shell", "-c", "main", "--", "sh", "-c", &exit], "").await?;
            assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
            ensure!(String::from_utf8_lossy(&output.stderr).contains("err\n"), "its other stream is apart");
        }
        let back = self.run(&["exec", "-i", "shell", "-c", "main", "--", "cat"], "to and fro").await?;
        assert_eq!(back, "to and fro");
        // Not echoed: nobody reads the output before all of the input is written.
        let large = "0123456789abcdef".repeat(100_000_000 / 16);
        let counted = self.run(&["exec", "-i", "shell", "-c", "main", "--", "wc", "-c"], &large).await?;
        assert_eq!(counted.trim(), large.len().to_string());
        let awkward = "a b&c=d;%2e+'\"ü";
        let back = self.run(&["exec", "shell", "-c", "main", "--", "echo", awkward], "").await?;
        assert_eq!(back.trim_end(), awkward);
        let terminal = ["exec", "-t", "shell", "-c", "main", "--", "echo", "in a terminal"];
        assert_eq!(self.run(&terminal, "").await?.trim_end(), "in a terminal");
        let output = self.attempt(&["exec", "shell", "-c", "main", "--", "no-such-program"], "").await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("no-such-program"), "{said}");
        Ok(())
    }

    pub(super) async fn every_exit_code_comes_back(&self) -> Result<()> {
        let pods = &self.pods().await?;
        let codes = stream::iter(0..=255).map(|code: i32| async move {
            let exit = ["sh".to_owned(), "-c".to_owned(), format!("exit {code}")];
            let mut process =
                soon(pods.exec("shell", exit, &AttachParams::default().container("main"))).await??;
            let status = soon(process.take_status().context("it has no status")?).await?;
            let said = exit_code(&status.context("it ended without a status")?);
            ensure!(said == Some(code), "{code} came back as {said:?}");
            Ok(())
        });
        codes.buffer_unordered(OPENERS).try_collect().await
    }

    /// The size of the terminal at the start, and after it has changed.
    pub(super) async fn a_terminal_is_resized(&self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let flag = folder.path().join("resize");
        let before = format!(
            "/usr/bin/stty rows 20 cols 50; (until [ -e {} ]; do /usr/bin/sleep 0.1; done; /usr/bin/stty -F /dev/tty rows 44 cols 99) &",
            flag.display()
        );
        let wait = "until [ \"$(stty size)\" = '20 50' ]; do sleep 0.1; done; echo small; until [ \"$(stty size)\" = '44 99' ]; do sleep 0.1; done; echo large";
        let exec = ["exec", "-it", "shell", "-c", "main", "--", "sh", "-c", wait];
        let (mut child, mut lines) = self.start_in_terminal(&before, &exec)?;
        for expected in ["small", "large"] {
            while soon(lines.next_line()).await??.context("the terminal was closed")?.trim() != expected {}
            fs::write(&flag, "")?;
        }
        ensure!(soon(child.wait()).await??.success(), "the command failed");
        Ok(())
    }
}

/// That of a command, as the API says it.
fn exit_code(status: &Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_ref()?.parse().ok()
}
