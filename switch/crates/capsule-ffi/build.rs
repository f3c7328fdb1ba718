//! Finds DPDK by pkg-config, compiles the shim against its headers and generates the bindings from the same.
//!
//! Which libraries are linked is pkg-config's to say. Drivers are not among them: EAL loads those that are installed when it starts.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

/// The first long-term release whose structures are laid out as `src/shim.c` asserts.
const VERSION_MIN: &str = "22.11";

fn main() {
    println!("cargo::rerun-if-changed=src/shim.h");
    println!("cargo::rerun-if-changed=src/shim.c");
    let library = pkg_config::Config::new().atleast_version(VERSION_MIN).probe("libdpdk").unwrap_or_else(|error| {
        fail(&format!("DPDK {VERSION_MIN} or newer is needed: `apt-get install libdpdk-dev dpdk clang libclang-dev pkg-config` ({error})"))
    });
    let flags = compiler_flags();

    let mut shim = cc::Build::new();
    shim.file("src/shim.c").includes(&library.include_paths).opt_level(3).warnings(true).extra_warnings(false);
    flags.iter().for_each(|flag| {
        shim.flag(flag);
    });
    shim.compile("dpdk_shim");

    let include = |path: &PathBuf| format!("-I{}", path.display());
    let bindings = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(library.include_paths.iter().map(include))
        .clang_args(&flags)
        .allowlist_function(FUNCTIONS)
        .allowlist_function("shim_.*")
        .allowlist_var("SHIM_.*")
        .allowlist_type("rte_eth_(conf|dev_info|rxconf|txconf|stats)|rte_ether_addr|rte_malloc_socket_stats")
        // Seen by pointer only.
        .opaque_type(
            "rte_mempool|rte_mbuf|rte_device|rte_mbuf_ext_shared_info|rte_eth_(v?mdq|dcb|intr|fdir|switch|vmdq).*|rte_flow.*|rte_intr.*",
        )
        .derive_default(true)
        .derive_copy(true)
        .derive_debug(false)
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .generate_comments(false)
        .layout_tests(true)
        .formatter(bindgen::Formatter::None)
        .generate();
    let bindings = bindings.unwrap_or_else(|error| fail(&format!("no bindings from the DPDK headers: {error}")));
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bindings.rs");
    bindings.write_to_file(&out).unwrap_or_else(|error| fail(&format!("{}: {error}", out.display())));
}

/// What is called directly; inline functions of the headers go through the shim.
const FUNCTIONS: &str = "rte_eal_init|rte_eal_get_runtime_dir|rte_strerror|rte_version\
    |rte_thread_register|rte_thread_unregister\
    |rte_dev_probe|rte_dev_remove|rte_dev_dma_map|rte_dev_dma_unmap|rte_extmem_register|rte_extmem_unregister\
    |rte_pktmbuf_pool_create|rte_mempool_free|rte_mempool_avail_count|rte_malloc_get_socket_stats\
    |rte_eth_dev_(get_port_by_name|info_get|configure|start|stop|close|socket_id|adjust_nb_rx_tx_desc|set_mtu|get_mtu)\
    |rte_eth_dev_(get_vlan_offload|set_vlan_offload|set_link_up)\
    |rte_eth_(rx|tx)_queue_setup|rte_eth_macaddr_get|rte_eth_stats_get|rte_eth_promiscuous_(enable|get)|rte_eth_allmulticast_enable";

/// What pkg-config says beside include paths and libraries: `-include rte_config.h` and the instruction set the headers need.
fn compiler_flags() -> Vec<String> {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = Command::new(program).args(["--cflags-only-other", "libdpdk"]).output();
    let output = output.unwrap_or_else(|error| fail(&format!("pkg-config: {error}")));
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

/// Ends the build with a sentence instead of a backtrace.
fn fail(problem: &str) -> ! {
    println!("cargo::error={problem}");
    exit(1)
}
