//! The whole of it, as an administrator meets it: a Debian that boots under a real systemd, the package installed by dpkg, the service started,
//! reloaded, killed, starved, cramped, stopped, upgraded and removed. After each step the unit, the journal, the stores and the log are looked at.
//!
//! One test, since every step stands on the one before. It needs root, systemd-nspawn and debootstrap, and is skipped, saying why, where
//! systemd-nspawn cannot run. The package holds the program that cargo has built for the tests already.

mod container;
mod house;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use container::{Container, text};
use house::{CONFIGURATION, GROUP, House, SCHEDULE};

/// Builds the package in a version.
fn package(version: &str, out: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new(root.join("deploy/package"))
        .args(["--binary", env!("CARGO_BIN_EXE_retentiond"), "--version", version, "--out"])
        .arg(out)
        .output()
        .unwrap();
    assert!(made.status.success(), "deploy/package: {}{}", text(&made.stdout), text(&made.stderr));
    PathBuf::from(text(&made.stdout).lines().last().unwrap())
}

#[test]
fn the_package_is_installed_runs_survives_and_is_removed_under_a_real_systemd() {
    if let Some(reason) = container::hindrance() {
        return println!("skipped: {reason}");
    }
    std::fs::create_dir_all(container::place()).unwrap();
    let folder = tempfile::tempdir_in(container::place()).unwrap();
    let packages = folder.path().join("packages");
    std::fs::create_dir(&packages).unwrap();
    let tree = thread::scope(|scope| {
        let tree = scope.spawn(container::tree);
        for version in ["0.1.0-1", "0.1.0-2"] {
            package(version, &packages);
        }
        tree.join().unwrap()
    });
    let mut house = House::new(&folder.path().join("srv"));
    let binds = [(folder.path().join("srv"), "/srv"), (packages, "/packages")];
    let binds: Vec<(&Path, &str)> = binds.iter().map(|(there, here)| (there.as_path(), *here)).collect();
    // A state disk small enough to be filled.
    let booted = match Container::boot(&tree, &binds, &["/var/lib/retentiond:size=96M,mode=0755"]) {
        Ok(container) => container,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let administrator = Administrator { booted: &booted };
    administrator.installs();
    administrator.starts_it_unedited();
    administrator.configures(&mut house);
    administrator.runs_on_the_timetable(&house);
    administrator.reloads(&mut house);
    administrator.kills_it_in_the_middle_of_a_run(&mut house);
    administrator.starves_the_watchdog();
    administrator.fills_the_state_disk(&mut house);
    administrator.stops_and_verifies(&house);
    administrator.upgrades(&mut house);
    administrator.removes(&house);
    booted.step("done");
}

struct Administrator<'c> {
    booted: &'c Container,
}

impl Administrator<'_> {
    fn write(&self, path: &str, content: &str) {
        self.booted.done(&format!("mkdir -p \"$(dirname {path})\" && cat > {path} <<'END'\n{content}\nEND"));
    }

    fn is_active(&self) -> bool {
        self.booted.unit("retentiond.service", "ActiveState") == "active"
    }

    fn pid(&self) -> String {
        self.booted.unit("retentiond.service", "MainPID")
    }

    /// Entries of one kind in the log.
    fn entries(&self, kind: &str) -> usize {
        self.booted.done(&format!("retentiond --json audit list --kind {kind}")).lines().count()
    }

    /// The log is intact, and says of as many records that they went as are gone.
    fn trusts_the_log(&self, house: &House) {
        self.booted.done("retentiond audit verify");
        self.booted.done("retentiond audit replay");
        let left: usize = [60, 61, 62].iter().map(|days| house.films(*days)).sum();
        let gone = house.due - left - (house.rows() - 3);
        let said = self.entries("destroyed") + self.recovered_as_gone();
        assert_eq!(said, gone, "left: what the log says that it went, right: what is gone{}", self.booted.evidence());
        assert_eq!((house.films(2), house.films(15)), (5, 5), "footage that is not due{}", self.booted.evidence());
    }

    fn recovered_as_gone(&self) -> usize {
        let entries = self.booted.done("retentiond --json audit list --kind recovered");
        entries.lines().filter(|line| line.contains("\"found\":\"gone\"")).count()
    }

    fn installs(&self) {
        self.booted.step("installs the package");
        let said = self.booted.done("dpkg -i /packages/retentiond_0.1.0-1_*.deb");
        assert!(said.contains("neither enabled nor started") && said.contains("retentiond check --connect"), "{said}");
        assert!(!self.is_active());
        for unit in ["retentiond.service", "retentiond-verify.timer"] {
            assert_eq!(self.booted.run(&format!("systemctl is-enabled {unit}")).text.trim(), "disabled");
        }
        self.booted.done("getent passwd retentiond && getent group retentiond retentiond-read");
        assert_eq!(self.booted.done("stat -c '%U:%G %a' /var/lib/retentiond").trim(), "retentiond:retentiond 700");
        assert_eq!(self.booted.done("stat -c '%U %a' /etc/retentiond/credentials").trim(), "root 700");
        assert_eq!(self.booted.done("ls -A /var/lib/retentiond").trim(), "", "nothing is written before somebody acts");
        self.booted.done(
            "grep -qx 'mode: report' /etc/retentiond/retentiond.yaml && ! grep -q '^ *mode: enforce' /etc/retentiond/retentiond.yaml",
        );
        for file in ["man8/retentiond.8.gz", "man5/retentiond.yaml.5.gz", "man5/retentiond-schedule.5.gz"] {
            self.booted.done(&format!("zcat /usr/share/man/{file} | grep -q '^.SH'"));
        }
        self.booted.done("bash -n /usr/share/bash-completion/completions/retentiond");
        // A path that a reader of the configuration is sent to must exist.
        self.booted.done("test -r /usr/share/retentiond/schedules/housing.yaml -a -r /usr/share/retentiond/roles/postgres.sql");
    }

    /// Whoever starts the service before adopting a schedule is told so, and nothing is looked at.
    fn starts_it_unedited(&self) {
        self.booted.step("starts it unedited");
        assert_ne!(self.booted.run("systemctl start retentiond").code, 0);
        assert_eq!(self.booted.unit("retentiond.service", "Result"), "exit-code");
        assert_eq!(self.booted.unit("retentiond.service", "ExecMainStatus"), "2");
        assert_eq!(self.booted.unit("retentiond.service", "ActiveState"), "failed", "it is not tried again and again");
        let journal = self.booted.journal();
        assert!(journal.contains("/etc/retentiond/schedules"), "{journal}");
        self.booted.done("systemctl reset-failed retentiond");
    }

    fn configures(&self, house: &mut House) {
        self.booted.step("configures and starts it");
        house.film(60, 5);
        house.film(15, 5);
        house.film(2, 5);
        self.booted.done(&format!("groupadd --gid {GROUP} records"));
        self.write("/etc/retentiond/schedules/booted.yaml", SCHEDULE);
        self.write("/etc/retentiond/retentiond.yaml", CONFIGURATION);
        // Shorter times than people would set, so that a test sees their end.
        let drop_in = "[Service]\nReadWritePaths=/srv/cctv /srv/housing\nSupplementaryGroups=records\nWatchdogSec=15s\nRestartSec=1s";
        self.write("/etc/systemd/system/retentiond.service.d/stores.conf", drop_in);
        self.booted.done("systemctl daemon-reload");
        let said = self.booted.run("retentiond check --connect");
        assert!(said.code <= 1, "{}", said.text);
        let said = self.booted.done("retentiond plan");
        assert!(said.contains("5 due"), "{said}");
        self.booted.done("systemctl enable --now retentiond");
        assert!(self.is_active());
        assert_ne!(self.booted.unit("retentiond.service", "StatusText"), "");
    }

    fn runs_on_the_timetable(&self, house: &House) {
        self.booted.step("waits for a run on the timetable");
        self.booted.soon("the due files and rows to go", || (house.films(60) == 0 && house.rows() == 3).then_some(()));
        self.booted.soon("the run to be finished", || (self.entries("run-finished") >= 2).then_some(()));
        assert_eq!(house.sql("SELECT count(*) FROM applicants WHERE outcome_date IS NULL"), "1");
        self.trusts_the_log(house);
        self.booted.done("retentiond status");
    }

    fn reloads(&self, house: &mut House) {
        self.booted.step("reloads a good schedule");
        let before = self.entries("schedule");
        let pid = self.pid();
        let shorter = SCHEDULE.replace("23 days", "10 days");
        self.write("/etc/retentiond/schedules/booted.yaml", &shorter);
        self.booted.done("systemctl reload retentiond");
        assert!(self.entries("schedule") > before, "a reload that ended well is in the log");

        self.booted.step("reloads a bad one");
        self.write("/etc/retentiond/schedules/booted.yaml", &SCHEDULE.replace("23 days", "6m"));
        assert_ne!(self.booted.run("systemctl reload retentiond").code, 0);
        let fault = "booted.yaml:4:";
        self.booted.soon("the journal to say why", || self.booted.journal().contains(fault).then_some(()));
        let status = self.booted.run("retentiond status");
        assert!(status.code == 1 && status.text.contains(fault), "{}", status.text);
        assert!(self.is_active() && self.pid() == pid, "the service goes on");
        // What is due only by the shorter period waits, so it is still there after the next run under the schedule in force.
        // `run` reads the files itself and would refuse, so the socket is asked.
        house.film(61, 1);
        let answer = self.booted.ask("/run/retentiond/control.sock", "{\"verb\":\"run\",\"selection\":\"cctv\"}");
        assert!(answer.contains("\"code\":0"), "{answer}");
        assert_eq!((house.films(61), house.films(15)), (0, 5));
        self.write("/etc/retentiond/schedules/booted.yaml", SCHEDULE);
        self.booted.done("systemctl reload retentiond");
        self.booted.done("retentiond status");
        self.trusts_the_log(house);
    }

    fn kills_it_in_the_middle_of_a_run(&self, house: &mut House) {
        self.booted.step("kills it in the middle of a run");
        let (many, pid) = (6000, self.pid());
        house.film(62, many);
        self.booted.done("(retentiond run cctv >/dev/null 2>&1 &)");
        self.booted.soon("the run to be in the middle", || (house.films(62) < many - 500).then_some(()));
        self.booted.done(&format!("kill -9 {pid}"));
        let left = house.films(62);
        assert!(left > 0, "the run was over before it was killed");
        self.booted.soon("systemd to start it again", || (self.is_active() && self.pid() != pid).then_some(()));
        assert!(self.booted.journal().contains("code=killed, status=9/KILL"), "{}", self.booted.journal());
        self.booted.soon("the rest to go", || (house.films(62) == 0).then_some(()));
        self.settles();
        assert!(self.entries("recovered") > 0, "recovery had nothing to tell");
        self.trusts_the_log(house);
    }

    /// Waits until no run is under way.
    fn settles(&self) {
        self.booted.soon("the runs to be over", || {
            let status = self.booted.run("retentiond --json status").text;
            (!status.contains("\"running\":{") && self.booted.run("retentiond audit verify").code == 0).then_some(())
        });
    }

    fn starves_the_watchdog(&self) {
        self.booted.step("starves the watchdog");
        let pid = self.pid();
        self.booted.done(&format!("kill -STOP {pid}"));
        self.booted.soon("systemd to start it again", || {
            let other = self.pid();
            (other != pid && other != "0" && self.is_active()).then_some(())
        });
        assert!(self.booted.journal().contains("Watchdog timeout"), "{}", self.booted.journal());
        self.booted.done("retentiond audit verify");
    }

    fn fills_the_state_disk(&self, house: &mut House) {
        self.booted.step("fills the state disk");
        self.booted.run("cat /dev/zero > /var/lib/retentiond/filler");
        assert!(self.booted.done("df --output=avail /var/lib/retentiond").ends_with(" 0\n"));
        house.film(61, 20);
        let said = self.booted.run("retentiond run cctv");
        assert!(said.code != 0 && said.text.contains("disk is full"), "{} {}", said.code, said.text);
        assert_eq!(house.films(61), 20, "what cannot be written down is not done");
        self.booted.done("rm /var/lib/retentiond/filler");
        self.booted.soon("a run to be done again", || (self.booted.run("retentiond run cctv").code == 0).then_some(()));
        assert_eq!(house.films(61), 0);
        self.settles();
        self.trusts_the_log(house);
    }

    fn stops_and_verifies(&self, house: &House) {
        self.booted.step("stops it");
        self.booted.done("systemctl stop retentiond");
        assert_eq!(self.booted.unit("retentiond.service", "Result"), "success");
        assert!(self.entries("stopped") >= 1);
        self.trusts_the_log(house);

        self.booted.step("calls the program while the service is stopped");
        let before = self.entries("run-finished");
        for question in ["plan", "status", "explain cctv/footage:yard/none.mp4", "check --connect", "audit list"] {
            self.booted.run(&format!("retentiond {question}"));
        }
        let said = self.booted.run("retentiond run cctv");
        assert!(said.code == 3 && said.text.contains("runuser -u"), "{} {}", said.code, said.text);
        self.booted.done("runuser -u \"$(stat -c %U /var/lib/retentiond)\" -- retentiond run cctv");
        assert!(self.entries("run-finished") > before, "its owner may run it");
        let foreign = self.booted.done("find /var/lib/retentiond ! -user retentiond");
        assert_eq!(foreign, "", "files that would lock the service out");

        self.booted.step("verifies by the nightly unit");
        let examples = "/usr/share/doc/retentiond/examples";
        let system = "/etc/systemd/system";
        self.booted.done(&format!("mkdir -p {system}/retentiond-verify.service.d"));
        self.booted.done(&format!(
            "cp {examples}/retentiond.service.d/on-failure.conf.example {system}/retentiond-verify.service.d/on-failure.conf"
        ));
        self.booted.done(&format!("cp {examples}/retentiond-notify@.service.example {system}/retentiond-notify@.service"));
        // There is no mail here.
        self.booted.done(&format!(
            "sed -i 's/| mail .*/> \\/run\\/told\\x27 sh %i/' {system}/retentiond-notify@.service && systemctl daemon-reload"
        ));
        self.booted.done("systemctl start retentiond-verify.service");
        let tile = "/var/lib/retentiond/audit/tile/0/000.p";
        let tile =
            self.booted.done(&format!("ls -d {tile}/* /var/lib/retentiond/audit/tile/0/000 2>/dev/null | head -1")).trim().to_owned();
        self.booted.done(&format!("cp -a {tile} /var/tmp/tile && printf X | dd of={tile} bs=1 seek=5 conv=notrunc status=none"));
        assert_ne!(self.booted.run("systemctl start retentiond-verify.service").code, 0, "a log that was tampered with");
        assert_eq!(self.booted.unit("retentiond-verify.service", "ExecMainStatus"), "4");
        self.booted.soon("the hook", || (self.booted.run("grep -q retentiond-verify.service /run/told").code == 0).then_some(()));
        self.booted.done(&format!("cp -a /var/tmp/tile {tile} && systemctl reset-failed"));
        self.booted.done("systemctl enable --now retentiond-verify.timer && systemctl start retentiond");
        // It changes nothing, so it may run beside the service.
        self.booted.done("systemctl start retentiond-verify.service");
        assert!(self.booted.done("systemctl list-timers --no-pager").contains("retentiond-verify.timer"));
    }

    fn upgrades(&self, house: &mut House) {
        self.booted.step("upgrades");
        let (pid, opened) = (self.pid(), self.entries("opened"));
        self.booted.done("dpkg -i /packages/retentiond_0.1.0-2_*.deb");
        self.booted.soon("the new program to run", || (self.is_active() && self.pid() != pid).then_some(()));
        assert_eq!(self.entries("opened"), opened, "it is the same log");
        assert_eq!(self.booted.run("systemctl is-enabled retentiond").text.trim(), "enabled");
        self.booted.done("grep -q '^node: booted' /etc/retentiond/retentiond.yaml");
        house.film(60, 1);
        self.booted.done("retentiond run cctv");
        assert_eq!(house.films(60), 0);
        self.trusts_the_log(house);

        self.booted.step("upgrades it while it is stopped");
        self.booted.done("systemctl stop retentiond && dpkg -i /packages/retentiond_0.1.0-1_*.deb");
        assert!(!self.is_active(), "what was stopped on purpose stays stopped");
        self.booted.done("systemctl start retentiond");
    }

    fn removes(&self, house: &House) {
        self.booted.step("removes it");
        let state = "cd /var/lib/retentiond && find . -type f ! -name '*.lock' | sort | xargs sha256sum | sha256sum";
        self.booted.done("dpkg -r retentiond");
        assert!(!self.is_active());
        self.booted.done("! test -e /usr/bin/retentiond -o -e /usr/lib/systemd/system/retentiond.service");
        let kept = self.booted.done(state);
        self.booted.done("grep -q '^mode: enforce' /etc/retentiond/retentiond.yaml && test -e /etc/retentiond/schedules/booted.yaml");

        self.booted.step("installs it again, over a configuration that enforces");
        self.booted.done("dpkg -i /packages/retentiond_0.1.0-2_*.deb");
        assert!(!self.is_active());
        assert_eq!(self.booted.run("systemctl is-enabled retentiond").text.trim(), "disabled");
        self.trusts_the_log(house);

        self.booted.step("purges it");
        let said = self.booted.done("dpkg -P retentiond");
        assert!(said.contains("the audit log and its keys stay in /var/lib/retentiond"), "{said}");
        assert_eq!(self.booted.done(state), kept, "the log is as it was");
        assert_eq!(self.booted.done("stat -c %U /var/lib/retentiond/audit").trim(), "retentiond", "and its owner is still known");
    }
}
