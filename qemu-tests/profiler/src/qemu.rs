// SPDX-License-Identifier: MIT
//! What QEMU calls, and what of QEMU is called: the plugin interface of QEMU 7.2, version 1 (qemu-plugin.h).
#![expect(unsafe_code, reason = "QEMU speaks C")]

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write as _;
use std::ptr;
use std::slice;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use crate::calls;
use crate::calls::Kind;
use crate::count::Counts;

/// Addresses from here on are the kernel's.
const KERNEL: u64 = 1 << 63;

/// The version of the interface, which QEMU reads.
// SAFETY: no other object of QEMU's process has this name; QEMU looks it up in this one alone.
#[unsafe(no_mangle)]
static qemu_plugin_version: c_int = 1;

/// `qemu_plugin_id_t`.
type Id = u64;

/// `struct qemu_plugin_tb`.
#[repr(C)]
struct Block {
    _private: [u8; 0],
}

/// `struct qemu_plugin_insn`.
#[repr(C)]
struct Instruction {
    _private: [u8; 0],
}

/// `QEMU_PLUGIN_CB_NO_REGS`.
const NO_REGISTERS: c_int = 0;
/// `enum qemu_plugin_mem_rw`.
const READS: c_int = 1;
const WRITES: c_int = 2;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, call: extern "C" fn(Id, *mut Block));
    fn qemu_plugin_register_atexit_cb(
        id: Id,
        call: extern "C" fn(Id, *mut c_void),
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const Block) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const u8;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut Block,
        call: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        call: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        call: extern "C" fn(c_uint, u32, u64, *mut c_void),
        flags: c_int,
        access: c_int,
        data: *mut c_void,
    );
}

static COUNTS: LazyLock<Mutex<Counts>> = LazyLock::new(Mutex::default);
static OUT: OnceLock<String> = OnceLock::new();

fn counts() -> MutexGuard<'static, Counts> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number where C has a pointer for whatever the plugin wants.
fn data(number: u64) -> *mut c_void {
    ptr::without_provenance_mut(usize::try_from(number).unwrap_or(usize::MAX))
}

fn number(data: *mut c_void) -> u64 {
    data.addr() as u64
}

/// QEMU loads the plugin. `out=FILE` is its one argument.
///
/// # Safety
///
/// `arguments` are `number` strings of C's, as QEMU gives them.
// SAFETY: no other object of QEMU's process has this name; QEMU looks it up in this one alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    _info: *const c_void,
    number: c_int,
    arguments: *const *const c_char,
) -> c_int {
    for index in 0..usize::try_from(number).unwrap_or(0) {
        // SAFETY: the caller promises that there are so many.
        let place = unsafe { arguments.add(index) };
        // SAFETY: the same.
        let argument = unsafe { *place };
        // SAFETY: the caller promises that it is a string.
        let argument = unsafe { CStr::from_ptr(argument) }.to_string_lossy();
        if let Some(path) = argument.strip_prefix("out=") {
            let _ = OUT.set(path.to_owned());
        }
    }
    if OUT.get().is_none() {
        say("the argument out=FILE is missing");
        return 1;
    }
    // SAFETY: `id` is what QEMU gave, and the function has the type that QEMU calls.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    // SAFETY: the same.
    unsafe { qemu_plugin_register_atexit_cb(id, ends, ptr::null_mut()) };
    0
}

/// A block was translated: says what is to be called when it runs.
extern "C" fn translated(_: Id, block: *mut Block) {
    // SAFETY: QEMU gives a block that lives during this call.
    let address = unsafe { qemu_plugin_tb_vaddr(block) };
    // SAFETY: the same.
    let length = unsafe { qemu_plugin_tb_n_insns(block) };
    let data_of_block = data(u64::from(counts().block(address, length as u64)));
    let call = if address < KERNEL {
        program_runs
    } else {
        kernel_runs
    };
    // SAFETY: the same; the data is a number, and the function takes it for one.
    unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, call, NO_REGISTERS, data_of_block) };
    for index in 0..length {
        // SAFETY: the same; there are `length` instructions.
        let instruction = unsafe { qemu_plugin_tb_get_insn(block, index) };
        let kind = self::kind(instruction);
        match kind {
            Kind::Call | Kind::Return if address >= KERNEL => watch(instruction, kind),
            Kind::Mark => {
                // SAFETY: the instruction is of a block that lives during this call.
                unsafe {
                    qemu_plugin_register_vcpu_insn_exec_cb(
                        instruction,
                        marks,
                        NO_REGISTERS,
                        ptr::null_mut(),
                    );
                };
            }
            _ => {}
        }
    }
}

fn kind(instruction: *const Instruction) -> Kind {
    // SAFETY: the caller has it from a block that lives.
    let bytes = unsafe { qemu_plugin_insn_data(instruction) };
    // SAFETY: the same.
    let length = unsafe { qemu_plugin_insn_size(instruction) };
    // SAFETY: QEMU keeps that many bytes of the instruction there while the block lives.
    calls::kind(unsafe { slice::from_raw_parts(bytes, length) })
}

/// Has a call or a return of the kernel's tell where its stack is.
fn watch(instruction: *mut Instruction, kind: Kind) {
    // SAFETY: the caller has it from a block that lives.
    let site = data(unsafe { qemu_plugin_insn_vaddr(instruction) });
    let (call, access): (extern "C" fn(c_uint, u32, u64, *mut c_void), _) = match kind {
        Kind::Call => (calls, WRITES),
        _ => (returns, READS),
    };
    // SAFETY: the same; the data is a number, and the function takes it for one.
    unsafe { qemu_plugin_register_vcpu_mem_cb(instruction, call, NO_REGISTERS, access, site) };
}

extern "C" fn kernel_runs(_: c_uint, block: *mut c_void) {
    runs(block, false);
}

extern "C" fn program_runs(_: c_uint, block: *mut c_void) {
    runs(block, true);
}

fn runs(block: *mut c_void, in_program: bool) {
    if let Ok(block) = u32::try_from(number(block)) {
        counts().execute(block, in_program);
    }
}

extern "C" fn calls(_: c_uint, _: u32, pointer: u64, site: *mut c_void) {
    counts().call(number(site), pointer);
}

extern "C" fn returns(_: c_uint, _: u32, pointer: u64, _: *mut c_void) {
    counts().ret(pointer);
}

extern "C" fn marks(_: c_uint, _: *mut c_void) {
    counts().mark();
}

extern "C" fn ends(_: Id, _: *mut c_void) {
    let Some(path) = OUT.get() else { return };
    let written = File::create(path).and_then(|file| counts().write(&mut BufWriter::new(file)));
    if let Err(error) = written {
        say(&format!("cannot write {path}: {error}"));
    }
}

fn say(message: &str) {
    // Nothing is lost where nobody listens.
    let _ = writeln!(std::io::stderr(), "l7switch-profiler: {message}");
}
