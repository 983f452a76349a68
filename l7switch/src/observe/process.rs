// SPDX-License-Identifier: MIT
//! What the process takes, by the names that Prometheus' client libraries use
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

use procfs::ProcResult;
use procfs::WithCurrentSystemInfo as _;
use procfs::process::LimitValue;

use super::exposition::Format;
use super::exposition::Text;

/// What the kernel says of the process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Seconds in user space and in the kernel.
    cpu: f64,
    /// Unix time.
    started: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: i64,
    open_files: usize,
    /// `None`: no limit.
    most_files: Option<u64>,
}

impl Process {
    /// What it says now; `None` where there is no /proc, or it cannot be read.
    pub async fn read() -> Option<Self> {
        let read = tokio::task::spawn_blocking(Self::read_now);
        let read = read.await.ok()?;
        read.inspect_err(|error| tracing::debug!(%error, "no metrics of the process"))
            .ok()
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus keeps no more")]
    fn read_now() -> ProcResult<Self> {
        let process = procfs::process::Process::myself()?;
        let stat = process.stat()?;
        let per_second = procfs::ticks_per_second() as f64;
        let booted = procfs::boot_time_secs()? as f64;
        let most = process.limits()?.max_open_files.soft_limit;
        Ok(Self {
            cpu: stat.utime.saturating_add(stat.stime) as f64 / per_second,
            started: booted + stat.starttime as f64 / per_second,
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            threads: stat.num_threads,
            open_files: process.fd_count()?,
            most_files: match most {
                LimitValue::Value(most) => Some(most),
                LimitValue::Unlimited => None,
            },
        })
    }

    /// As metrics.
    pub fn render(&self, format: Format) -> String {
        let mut out = Text::with_prefix("process_", format);
        let help = "Time in user space and in the kernel.";
        out.family("cpu_seconds_total", "counter", help);
        out.sample("cpu_seconds_total", &[], self.cpu);
        out.family("start_time_seconds", "gauge", "Unix time of its start.");
        out.sample("start_time_seconds", &[], self.started);
        out.family("resident_memory_bytes", "gauge", "Resident memory.");
        out.sample("resident_memory_bytes", &[], self.resident_bytes);
        out.family("virtual_memory_bytes", "gauge", "Virtual memory.");
        out.sample("virtual_memory_bytes", &[], self.virtual_bytes);
        out.family("threads", "gauge", "Threads.");
        out.sample("threads", &[], self.threads);
        out.family("open_fds", "gauge", "Open file descriptors.");
        out.sample("open_fds", &[], self.open_files);
        out.family("max_fds", "gauge", "Most open file descriptors.");
        match self.most_files {
            Some(most) => out.sample("max_fds", &[], most),
            None => out.sample("max_fds", &[], "+Inf"),
        }
        out.into_string()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;
    use std::time::Instant;
    use std::time::SystemTime;
    use std::time::UNIX_EPOCH;

    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().unwrap().trim().parse().unwrap()
    }

    #[test]
    fn what_the_process_takes_is_seen() {
        let now = || Process::read_now().unwrap();
        let before = now();
        let files: Vec<_> = (0..500).map(|_| File::open("/dev/null").unwrap()).collect();
        let began = Instant::now();
        let mut memory = vec![0_u8; 64 << 20];
        while began.elapsed() < Duration::from_millis(200) {
            memory.fill(1);
        }
        let after = now();
        // Tests run beside this one, and may free some meanwhile.
        assert!(after.open_files > before.open_files + 250);
        assert!(after.resident_bytes > before.resident_bytes + (32 << 20));
        assert!(after.cpu > before.cpu);
        drop((files, memory));
        let text = after.render(Format::Prometheus);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = unix.as_secs_f64() - value(&text, "process_start_time_seconds");
        assert!((-1.0..600.0).contains(&age), "{age}");
        assert!(value(&text, "process_max_fds") >= value(&text, "process_open_fds"));
        assert!(value(&text, "process_threads") >= 1.0);
        assert!(
            value(&text, "process_virtual_memory_bytes")
                > value(&text, "process_resident_memory_bytes")
        );
        let open = after.render(Format::OpenMetrics);
        assert!(open.contains("# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total "));
    }
}
