// SPDX-License-Identifier: MIT
//! What was measured, drawn: a chart for each case, what each contender adds.

use std::path::Path;

use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use plotters::prelude::*;

use super::case::CASES;
use super::case::Case;
use super::contender::Contender;
use super::record::Record;

const SIZE: (u32, u32) = (720, 260);

/// Draws each case of the record into a file, `FOLDER/CASE.svg`, with a line below that says where it was measured.
///
/// # Errors
///
/// Where a file cannot be written.
pub(crate) fn all(record: &Record, folder: &Path, where_measured: &str) -> Result<()> {
    for case in CASES {
        let mut bars: Vec<(String, f64)> = record
            .of(case.name)
            .filter(|entry| entry.contender != Contender::Direct)
            .map(|entry| (entry.contender.to_string(), entry.added / 1e3))
            .collect();
        // Charts grow upwards.
        bars.reverse();
        if !bars.is_empty() {
            let path = folder.join(format!("{}.svg", case.name));
            draw(case, &bars, &path, where_measured).map_err(|error| Error::Tool {
                tool: format!("drawing {}", path.display()),
                output: error.to_string(),
            })?;
        }
    }
    Ok(())
}

fn draw(
    case: &Case,
    bars: &[(String, f64)],
    path: &Path,
    where_measured: &str,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let most = bars.iter().map(|(_, added)| *added).fold(0.0, f64::max);
    let least = bars.iter().map(|(_, added)| *added).fold(0.0, f64::min);
    let margin = (most - least) * 0.15;
    let rows = i32::try_from(bars.len())?;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(SIZE.1 - 20);
    lower.draw(&Text::new(
        where_measured,
        (10, 2),
        ("sans-serif", 11).into_font().color(&BLACK.mix(0.6)),
    ))?;
    let name = |row: &i32| {
        let bar = usize::try_from(*row).ok().and_then(|row| bars.get(row));
        bar.map_or(String::new(), |(name, _)| name.clone())
    };
    let mut chart = ChartBuilder::on(&upper)
        .caption(format!("{}: {}", case.name, case.about), ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(110)
        .build_cartesian_2d(
            least - if least < 0.0 { margin } else { 0.0 }..most + margin,
            (0..rows - 1).into_segmented(),
        )?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc("thousand instructions added per request")
        .y_label_formatter(&|row| match row {
            SegmentValue::CenterOf(row) => name(row),
            _ => String::new(),
        })
        .draw()?;
    for (row, (_, added)) in (0..).zip(bars) {
        let color = if name(&row).starts_with("module") {
            RGBColor(0x1b, 0x6c, 0xa8)
        } else {
            RGBColor(0x9a, 0xa5, 0xb1)
        };
        let ends = [
            (0.0, SegmentValue::Exact(row)),
            (*added, SegmentValue::Exact(row + 1)),
        ];
        let mut bar = Rectangle::new(ends, color.filled());
        bar.set_margin(4, 4, 0, 0);
        chart.draw_series([bar])?;
        chart.draw_series([Text::new(
            format!(" {added:.1}"),
            (added.max(0.0), SegmentValue::CenterOf(row)),
            ("sans-serif", 12),
        )])?;
    }
    area.present()?;
    Ok(())
}
