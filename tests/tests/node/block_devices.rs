//! Whole block devices in the place of directories: loop devices, which only root has. Where there are none each test says so by
//! name, in a line that `.ci/run` counts as skipped.

use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use strata_tests::content::body;
use strata_tests::server::{Server, ServerOptions, binary, listen_anywhere, scratch};
use tempfile::TempDir;

use crate::{get, put};

const MIB: u64 = 1 << 20;
const SIZES: [usize; 4] = [100, 40_000, 1 << 20, (3 << 20) + 1];

/// Longer than a survey and a repair.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file as a block device, and what is mounted of it. Both are gone when it is dropped.
struct LoopDevice {
    path: PathBuf,
    folder: TempDir,
    mounted: bool,
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of this test")
}

impl LoopDevice {
    fn new(bytes: u64, sector_bytes: u32) -> Result<LoopDevice, String> {
        let folder = tempfile::tempdir_in(scratch()).expect("a folder");
        let image = folder.path().join("image");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(bytes).expect("so long");
        let sector = sector_bytes.to_string();
        let arguments = ["--show", "--partscan", "--find", "--sector-size", &sector];
        let path = run("losetup", &[&arguments[..], &[text(&image)]].concat())?;
        Ok(LoopDevice {
            path: path.into(),
            folder,
            mounted: false,
        })
    }

    fn name(&self) -> &str {
        text(&self.path)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let device = std::fs::File::options().write(true).open(&self.path);
        let device = device.expect("opened");
        device.write_all_at(bytes, offset).expect("written");
        device.sync_all().expect("synced");
    }

    /// Whether nobody has it: as mkfs and mount ask.
    fn is_free(&self) -> bool {
        let mut options = std::fs::File::options();
        let opened = options
            .read(true)
            .custom_flags(libc::O_EXCL)
            .open(&self.path);
        opened.is_ok()
    }

    fn mount(&mut self) -> Result<(), String> {
        let place = self.folder.path().join("mounted");
        std::fs::create_dir(&place).expect("made");
        run("mkfs.ext4", &["-q", self.name()])?;
        run("mount", &[self.name(), text(&place)])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) {
        let place = self.folder.path().join("mounted");
        run("umount", &[text(&place)]).expect("unmounted");
        self.mounted = false;
    }

    fn detach(&self) {
        run("losetup", &["--detach", self.name()]).expect("detached");
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if self.mounted {
            self.unmount();
        }
        // It may be detached already.
        let _ = run("losetup", &["--detach", self.name()]);
    }
}

/// So many loop devices; says by name that the test is skipped where there are none.
fn loop_devices(test: &str, count: usize) -> Option<Vec<LoopDevice>> {
    let devices = (0..count).map(|_| LoopDevice::new(400 * MIB, 512));
    match devices.collect() {
        Ok(devices) => Some(devices),
        Err(why) => {
            skip(test, &why);
            None
        }
    }
}

/// Past the harness, which keeps to itself what a test that passes prints.
fn skip(test: &str, why: &str) {
    let line = format!(
        "\nblock devices: 1 skipped: {test}, {}\n",
        why.trim().replace('\n', " ")
    );
    std::io::stderr().write_all(line.as_bytes()).expect("said");
}

fn options(devices: &[LoopDevice]) -> ServerOptions {
    ServerOptions {
        data_dirs: devices.len(),
        listed: devices.iter().map(|device| device.path.clone()).collect(),
        ..ServerOptions::default()
    }
}

/// A server that is not started yet.
fn command(listed: &[&str], metadata_dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(binary::strata());
    command.arg("server");
    listen_anywhere(&mut command);
    for place in listed {
        command.args(["--data-dir", place]);
    }
    command.arg("--metadata-dir").arg(metadata_dir).args(more);
    command
}

/// What a start says that is refused; it has made nothing.
fn refused(listed: &[&str], more: &[&str]) -> String {
    let folder = tempfile::tempdir_in(scratch()).expect("a folder");
    let metadata_dir = folder.path().join("metadata");
    let output = command(listed, &metadata_dir, more).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(!metadata_dir.exists(), "it has made something: {said}");
    said
}

async fn fill(server: &Server, prefix: &str) {
    let client = server.client();
    let _ = client.create_bucket().bucket("raw").send().await;
    for bytes in SIZES {
        let key = format!("{prefix}/{bytes}");
        put(&client, "raw", &key, &body(bytes as u64, bytes)).await;
    }
}

async fn assert_there(server: &Server, prefix: &str) {
    let client = server.client();
    for bytes in SIZES {
        let key = format!("{prefix}/{bytes}");
        assert!(
            get(&client, "raw", &key).await == body(bytes as u64, bytes),
            "{key}"
        );
    }
}

/// The devices of a server: path, state and bytes.
fn devices(server: &Server) -> Vec<(String, String, u64)> {
    let output = server.run(&["device", "list", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = list.as_array().expect("a list").iter();
    list.map(|device| {
        let word = |name: &str| device[name].as_str().unwrap_or("").to_owned();
        let bytes = device["total_bytes"].as_u64().unwrap_or(0);
        (word("path"), word("state"), bytes)
    })
    .collect()
}

#[tokio::test]
async fn block_devices_serve_and_belong_to_their_server() {
    let name = "block_devices_serve_and_belong_to_their_server";
    let Some(mut loops) = loop_devices(name, 2) else {
        return;
    };
    // Sectors of 4 KiB without an emulation of shorter ones.
    match LoopDevice::new(400 * MIB, 4096) {
        Ok(device) => loops.push(device),
        Err(why) => return skip(name, &why),
    }
    let mut server = Server::start(options(&loops));
    fill(&server, "first").await;
    let listed = devices(&server);
    assert_eq!(listed.len(), 3, "{listed:?}");
    for (device, (path, state, bytes)) in loops.iter().zip(&listed) {
        assert_eq!((path.as_str(), state.as_str()), (device.name(), "healthy"));
        // All but the log and what does not fill a segment: no file system keeps a part.
        assert!((300 * MIB..400 * MIB).contains(bytes), "{bytes}");
        assert!(!device.is_free(), "{path} could be formatted by others");
    }
    // Another server does not get one of them, and makes nothing.
    let why = refused(&[loops[1].name()], &[]);
    assert!(
        why.contains(loops[1].name()) && why.contains("in use by another server"),
        "{why}"
    );
    server.kill();
    assert!(loops.iter().all(LoopDevice::is_free));
    // In any order, and with the flag left on.
    let options = server.options_mut();
    options.listed.reverse();
    let force = ["--force-format".to_owned(), loops[0].name().to_owned()];
    options.arguments.extend(force);
    server.restart();
    assert_there(&server, "first").await;
    fill(&server, "second").await;
    assert!(server.stop().success());
    server.restart();
    assert_there(&server, "second").await;
    let inspected = binary::strata();
    let inspected = run(text(inspected), &["inspect", loops[2].name()]).expect("inspected");
    assert!(
        inspected.contains("block_device_bytes 419430400"),
        "{inspected}"
    );
}

#[test]
fn what_others_have_on_a_block_device_is_not_written_over() {
    let name = "what_others_have_on_a_block_device_is_not_written_over";
    let Some(mut loops) = loop_devices(name, 2) else {
        return;
    };
    let (empty, other) = (loops[0].name().to_owned(), loops[1].name().to_owned());
    let without = Command::new(binary::strata())
        .args(["config", "check", "--data-dir", &empty])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(
        !without.status.success() && said.contains("storage.metadata_dir"),
        "{said}"
    );
    let force = ["--force-format", other.as_str()];

    let mounted = loops[1].mount();
    if let Err(why) = mounted {
        return skip(name, &why);
    }
    for more in [&[][..], &force] {
        let why = refused(&[&empty, &other], more);
        assert!(why.contains(&format!("{other} is mounted at")), "{why}");
    }
    loops[1].unmount();
    let why = refused(&[&empty, &other], &[]);
    assert!(
        why.contains(&format!("{other} is not empty")) && why.contains("ext4"),
        "{why}"
    );
    let why = refused(&[&empty, &other], &["--force-format", &empty]);
    assert!(why.contains(&format!("{other} is not empty")), "{why}");
    let why = refused(&[&empty], &force);
    assert!(why.contains("does not list it"), "{why}");

    let held = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(&other)
        .expect("nobody has it");
    let why = refused(&[&empty, &other], &force);
    assert!(
        why.contains(&other) && why.contains("open exclusively"),
        "{why}"
    );
    drop(held);

    // A partition table, and the partition that the kernel knows by it.
    loops[1].write(0, &[0; 4096]);
    loops[1].write(510, &[0x55, 0xaa]);
    let partition = format!("{other}p1");
    run("addpart", &[&other, "1", "2048", "778240"]).expect("added");
    let why = refused(&[&empty, &other], &[]);
    let short = partition.strip_prefix("/dev/").expect("a device");
    let table = format!("an MBR partition table, with the partitions {short}");
    assert!(why.contains(&table), "{why}");
    run("mkfs.ext4", &["-q", &partition]).expect("made");
    let place = loops[1].folder.path().join("mounted");
    run("mount", &[&partition, text(&place)]).expect("mounted");
    loops[1].mounted = true;
    let why = refused(&[&empty, &other], &force);
    assert!(why.contains(&format!("{short} is mounted at")), "{why}");
    loops[1].unmount();
    let image = std::fs::read(loops[0].image()).expect("the image");
    assert!(
        image.iter().all(|byte| *byte == 0),
        "nothing was written to the empty one"
    );

    // The partition alone is taken.
    let mut options = options(&loops);
    options.listed[1] = PathBuf::from(&partition);
    let force = ["--force-format".to_owned(), partition.clone()];
    options.arguments.extend(force);
    let server = Server::start(options);
    let listed = devices(&server);
    assert_eq!((listed[1].0.as_str(), listed.len()), (&*partition, 2));
    assert!(!loops[1].is_free(), "its disk is not free either");
}

#[tokio::test]
async fn a_block_device_that_fails_or_is_gone_is_replaced_by_another() {
    let name = "a_block_device_that_fails_or_is_gone_is_replaced_by_another";
    let Some(mut loops) = loop_devices(name, 4) else {
        return;
    };
    let new = loops.pop().expect("four");
    new.write(0x438, &[0x53, 0xef]);
    let mut server = Server::start(options(&loops));
    fill(&server, "first").await;
    // What lies behind its first MiB cannot be read any more.
    let image = std::fs::File::options()
        .write(true)
        .open(loops[1].image())
        .expect("the image");
    image.set_len(MIB).expect("cut");
    assert_there(&server, "first").await;
    server.kill();

    // Unplugged: the number is there, and no bytes are.
    loops[1].detach();
    server.restart();
    assert_there(&server, "first").await;
    fill(&server, "degraded").await;
    let lost = |server: &Server| {
        let output = server.run(&["device", "list", "--json"]);
        let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let list = list.as_array().expect("a list").clone();
        let is_lost = |device: &&Value| device["state"] == "gone" && device["use"] == "member";
        let mut missing = list.iter().filter(is_lost);
        missing
            .next()
            .and_then(|device| device["uuid"].as_str().map(str::to_owned))
    };
    let uuid = lost(&server).expect("one is missing");
    let output = server.run(&["device", "replace", &uuid, new.name()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("is not empty"),
        "{said}"
    );
    let arguments = ["device", "replace", &uuid, new.name(), "--force-format"];
    let output = server.run(&arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains(&format!("list {} in", new.name())),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!new.is_free());
    wait_until_whole(&server);
    server.kill();
    server.options_mut().listed[1] = new.path.clone();
    server.restart();
    assert_there(&server, "degraded").await;
    assert_eq!(lost(&server), None);
}

fn wait_until_whole(server: &Server) {
    let end = Instant::now() + PATIENCE;
    loop {
        let output = server.run(&["repair", "status", "--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if found["survey"]["below_target"] == 0 {
            return;
        }
        assert!(Instant::now() < end, "not in time: {found:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
