//! Files are copied to a container of a virtual cluster, and back, as on its host.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;

use super::amounts::amounts;
use super::sides::Side;

/// So many small ones are copied.
const FILES: usize = 5_500;
/// So many large ones, at the same time.
const AT_ONCE: u32 = 2;
const MEBIBYTE: usize = 1 << 20;

impl Side<'_> {
    pub(super) async fn files_are_copied(&self) -> Result<()> {
        try_join_all((0..AT_ONCE).map(|number| self.file_is_copied(number))).await.map(drop)
    }

    async fn file_is_copied(&self, number: u32) -> Result<()> {
        let here = tempfile::tempdir()?;
        let (file, back) = (here.path().join("file"), here.path().join("back"));
        fill(&file, number)?;
        let name = format!("shell:/tmp/file-{number}");
        self.run(&["cp", "-c", "main", &file.display().to_string(), &name], "").await?;
        // It is large, and what it held is known.
        fs::remove_file(&file)?;
        self.run(&["cp", "-c", "main", &name, &back.display().to_string()], "").await?;
        check(&back, number).with_context(|| format!("the copy of the copy of file {number}"))
    }

    pub(super) async fn many_files_are_copied(&self) -> Result<()> {
        let here = tempfile::tempdir()?;
        let (files, back) = (here.path().join("files"), here.path().join("back"));
        fs::create_dir(&files)?;
        for number in 0..FILES {
            fs::write(files.join(number.to_string()), number.to_string())?;
        }
        let name = "shell:/tmp/files";
        self.run(&["cp", "-c", "main", &files.display().to_string(), name], "").await?;
        self.run(&["cp", "-c", "main", name, &back.display().to_string()], "").await?;
        for number in 0..FILES {
            let content = fs::read_to_string(back.join(number.to_string()))?;
            ensure!(content == number.to_string(), "file {number} holds {content:?}");
        }
        Ok(())
    }
}

/// Writes a file of which no two places are alike.
fn fill(path: &Path, number: u32) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut block = Block::of(number);
    for place in 0..amounts().mebibytes {
        file.write_all(block.at(place))?;
    }
    Ok(file.flush()?)
}

/// Fails at the first place that is not as it was written.
fn check(path: &Path, number: u32) -> Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut block, mut found) = (Block::of(number), vec![0; MEBIBYTE]);
    for place in 0..amounts().mebibytes {
        file.read_exact(&mut found).with_context(|| format!("it ends in mebibyte {place}"))?;
        ensure!(found == block.at(place), "mebibyte {place} differs");
    }
    ensure!(file.read(&mut found)? == 0, "it goes on after its end");
    Ok(())
}

/// A mebibyte of a file, which begins with its place there.
struct Block(Vec<u8>);

impl Block {
    fn of(number: u32) -> Self {
        let words = (0..MEBIBYTE / size_of::<u32>()).zip(number..).map(|(_, word)| word);
        Self(words.flat_map(u32::to_le_bytes).collect())
    }

    fn at(&mut self, place: u32) -> &[u8] {
        self.0.splice(..size_of::<u32>(), place.to_le_bytes());
        &self.0
    }
}
