// SPDX-License-Identifier: MIT
//! The tests that run in the guest. A test is a function in one of these files and a line in the list.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use crate::guest::Job;
use crate::guest_test;
use crate::test::Test;
use splice::crossing;

mod boot;
mod crossings;
mod dumps;
mod flows;
mod front;
mod front_and_kernel;
mod fuzz;
mod loads;
mod module;
mod netlink;
mod packets;
mod permissions;
mod programs;
mod requests;
mod routes;
mod selftest;
mod servers;
mod specification;
mod splice;
mod tables;

/// Every test of the guest.
pub const TESTS: &[Test] = &[
    guest_test!(boot::tools_run).basic(),
    guest_test!(boot::namespaces_talk).basic(),
    guest_test!(boot::modules_load),
    guest_test!(boot::instructions_are_counted).icount(),
    guest_test!(crossings::nothing_between)
        .basic()
        .needs_module(),
    guest_test!(crossings::by_a_vlan).basic().needs_module(),
    guest_test!(crossings::by_a_tunnel).basic().needs_module(),
    guest_test!(crossings::beside_ipvs).basic().needs_module(),
    guest_test!(crossings::beside_a_flowtable)
        .basic()
        .needs_module(),
    guest_test!(crossings::while_addresses_move)
        .basic()
        .needs_module(),
    guest_test!(dumps::long_lists_are_whole)
        .basic()
        .needs_module(),
    guest_test!(dumps::a_list_that_changes_says_so).needs_module(),
    guest_test!(dumps::lists_are_of_one_table_while_tables_are_swapped).needs_module(),
    guest_test!(dumps::long_lists_of_flows_are_whole).needs_module(),
    guest_test!(dumps::a_listener_that_does_not_read_learns_that_it_lost_events)
        .basic()
        .needs_module(),
    guest_test!(flows::connections_are_listed_from_request_to_close)
        .basic()
        .needs_module(),
    guest_test!(flows::a_busy_connection_is_never_seen_later_than_it_is_listed)
        .basic()
        .needs_module(),
    guest_test!(flows::flows_are_counted_by_state)
        .basic()
        .needs_module(),
    guest_test!(flows::closed_connections_are_forgotten)
        .basic()
        .needs_module(),
    guest_test!(flows::local_clients_are_served)
        .basic()
        .needs_module(),
    guest_test!(flows::flows_outlive_a_table)
        .basic()
        .needs_module(),
    guest_test!(flows::a_full_table_of_flows_is_counted_and_breaks_nothing).needs_module(),
    guest_test!(front::quickstart_in_guest).basic(),
    guest_test!(front_and_kernel::the_front_loads_its_rules_and_says_who_replaced_them)
        .needs_module(),
    guest_test!(front_and_kernel::rules_that_the_kernel_refuses_are_the_fronts_alone)
        .needs_module(),
    guest_test!(front_and_kernel::without_the_module_the_front_says_so).needs_module(),
    guest_test!(front_and_kernel::the_module_goes_and_comes_while_the_front_serves).needs_module(),
    guest_test!(front_and_kernel::servers_are_kept_in_step_both_ways)
        .basic()
        .needs_module(),
    guest_test!(front_and_kernel::what_checks_find_is_set_in_the_kernel)
        .basic()
        .needs_module(),
    guest_test!(fuzz::random_messages_do_no_harm)
        .basic()
        .needs_module(),
    guest_test!(loads::loads_keep_to_their_order)
        .basic()
        .needs_module(),
    guest_test!(loads::a_load_ends_with_its_socket)
        .basic()
        .needs_module(),
    guest_test!(loads::a_load_beyond_the_loaders_memory_is_refused)
        .basic()
        .needs_module(),
    guest_test!(loads::loaders_that_compete_are_served_or_told).needs_module(),
    guest_test!(module::l7ctl_says_what_to_do_without_it).basic(),
    guest_test!(module::loads_and_goes_many_times)
        .basic()
        .needs_module(),
    guest_test!(module::parameters_at_their_limits_do_no_harm)
        .needs_module()
        .memory(3072),
    guest_test!(module::says_what_it_is).basic().needs_module(),
    guest_test!(netlink::misuse_is_refused_with_words_and_changes_nothing)
        .basic()
        .needs_module(),
    guest_test!(netlink::messages_that_no_client_sends_do_no_harm)
        .basic()
        .needs_module(),
    guest_test!(packets::random_packets_do_no_harm)
        .basic()
        .needs_module(),
    guest_test!(permissions::without_cap_net_admin_nothing_is_told_or_done).needs_module(),
    guest_test!(permissions::a_user_may_load_a_table_in_a_namespace_of_his_own)
        .basic()
        .needs_module(),
    guest_test!(permissions::namespaces_are_apart)
        .basic()
        .needs_module(),
    guest_test!(requests::kernel_and_explain_agree)
        .basic()
        .needs_module(),
    guest_test!(requests::l7ctl_loads_every_example).needs_module(),
    guest_test!(routes::requests_and_responses_are_counted_by_route)
        .basic()
        .needs_module(),
    guest_test!(routes::counters_of_routes_outlive_tables).needs_module(),
    guest_test!(routes::ten_thousand_routes_are_counted_and_listed_while_tables_are_swapped)
        .needs_module()
        .timeout(240),
    guest_test!(servers::what_is_set_of_servers_outlives_tables)
        .basic()
        .needs_module(),
    guest_test!(servers::what_may_not_be_picked_is_not_picked)
        .basic()
        .needs_module(),
    guest_test!(servers::keys_stay_with_their_servers)
        .basic()
        .needs_module(),
    guest_test!(specification::the_kernels_tool_is_a_client)
        .basic()
        .needs_module(),
    guest_test!(specification::the_kernels_tool_shows_events_and_errors).needs_module(),
    guest_test!(programs::nginx_is_served)
        .needs_module()
        .timeout(240),
    guest_test!(programs::apache_is_served)
        .needs_module()
        .timeout(240),
    guest_test!(programs::lighttpd_is_served)
        .needs_module()
        .timeout(240),
    guest_test!(splice::requests_go_where_the_rules_say)
        .basic()
        .needs_module()
        .timeout(120),
    guest_test!(splice::rules_and_routes_are_heeded).needs_module(),
    guest_test!(crossing::what_is_not_to_this_host_is_not_the_services)
        .basic()
        .needs_module(),
    guest_test!(crossing::an_address_that_moves_away_takes_its_service_along).needs_module(),
    guest_test!(crossing::raw_chains_keep_clients_out_whoever_was_first).needs_module(),
    guest_test!(crossing::connections_pass_bridges_that_call_netfilter)
        .needs_module()
        .timeout(240),
    guest_test!(crossing::a_host_that_does_not_forward_leaves_requests_to_the_front)
        .needs_module()
        .timeout(180),
    guest_test!(crossing::servers_at_loopback_addresses_are_the_fronts)
        .needs_module()
        .timeout(180),
    guest_test!(crossing::firewalls_see_connections_from_the_first_request_on)
        .needs_module()
        .timeout(240),
    guest_test!(splice::packets_are_taken_at_ingress_unless_a_hook_looks)
        .needs_module()
        .timeout(180),
    guest_test!(splice::packet_sockets_see_what_is_taken_at_ingress)
        .needs_module()
        .timeout(180),
    guest_test!(splice::ingress_follows_devices_under_load)
        .needs_module()
        .timeout(180),
    guest_test!(splice::clear_text_that_ipsec_refuses_is_not_taken).needs_module(),
    guest_test!(splice::known_heads_go_where_the_rules_say_now).needs_module(),
    guest_test!(splice::a_client_that_has_forgotten_its_connection_begins_another_from_its_port)
        .needs_module(),
    guest_test!(splice::one_connection_goes_to_many_servers).needs_module(),
    guest_test!(splice::pipelined_requests_are_answered_in_order)
        .needs_module()
        .timeout(180),
    guest_test!(splice::servers_that_refuse_are_passed_over).needs_module(),
    guest_test!(splice::servers_may_answer_before_they_have_the_body).needs_module(),
    guest_test!(splice::a_browser_is_served)
        .needs_module()
        .memory(2048)
        .timeout(300),
    guest_test!(splice::bodies_are_identical)
        .needs_module()
        .timeout(180),
    guest_test!(splice::clients_may_send_byte_by_byte).needs_module(),
    guest_test!(splice::upgrades_are_opaque).needs_module(),
    guest_test!(splice::tables_are_replaced_and_servers_drained_under_load)
        .needs_module()
        .timeout(240),
    guest_test!(splice::the_module_goes_and_comes_under_load)
        .needs_module()
        .timeout(240),
    guest_test!(splice::a_syn_flood_takes_no_memory)
        .needs_module()
        .timeout(240),
    guest_test!(splice::idle_connections_take_no_memory)
        .needs_module()
        .timeout(240),
    guest_test!(splice::ambiguous_requests_reach_no_server)
        .needs_module()
        .timeout(240),
    guest_test!(splice::the_front_serves_what_the_kernel_cannot)
        .needs_module()
        .timeout(240),
    guest_test!(splice::fronts_are_replaced_under_load)
        .needs_module()
        .timeout(240),
    guest_test!(splice::servers_start_slowly)
        .needs_module()
        .timeout(120),
    guest_test!(splice::what_is_over_a_rate_limit_is_refused_by_the_front)
        .needs_module()
        .timeout(240),
    guest_test!(splice::what_servers_may_not_have_is_refused_by_the_front)
        .needs_module()
        .timeout(240),
    guest_test!(splice::proxy_headers_are_read_and_sent)
        .needs_module()
        .timeout(240),
    guest_test!(splice::proxy_headers_survive_bad_networks)
        .needs_module()
        .timeout(480),
    guest_test!(splice::bad_networks_lose_nothing)
        .needs_module()
        .timeout(240),
    guest_test!(splice::fragments_are_put_together).needs_module(),
    guest_test!(splice::options_of_tcp_may_be_missing_on_either_side)
        .needs_module()
        .timeout(240),
    guest_test!(splice::paths_of_any_size_are_passed)
        .needs_module()
        .timeout(240),
    guest_test!(splice::segments_of_any_layout_are_read)
        .needs_module()
        .timeout(300),
    guest_test!(splice::what_was_read_is_what_is_sent)
        .needs_module()
        .timeout(120),
    guest_test!(splice::servers_get_no_longer_segments_than_they_take)
        .needs_module()
        .timeout(240),
    guest_test!(splice::clients_of_small_segments_are_served)
        .needs_module()
        .timeout(120),
    guest_test!(splice::what_nobody_asked_for_is_no_answer)
        .needs_module()
        .timeout(120),
    guest_test!(splice::servers_may_speak_first)
        .needs_module()
        .timeout(240),
    guest_test!(splice::tls_goes_by_server_name)
        .needs_module()
        .timeout(240),
    guest_test!(tables::tables_come_and_go_under_dumps)
        .basic()
        .needs_module(),
    guest_test!(tables::corrupted_tables_do_no_harm)
        .basic()
        .needs_module(),
];

/// Tests that take minutes: run where `L7_LONG` is set.
pub const LONG: &[Test] = &[
    guest_test!(splice::bad_networks_lose_nothing_in_ten_thousand_requests)
        .needs_module()
        .timeout(7200),
    guest_test!(splice::a_gigabyte_is_downloaded)
        .needs_module()
        .memory(3072)
        .timeout(1800),
    guest_test!(splice::a_hundred_thousand_idle_connections_take_no_memory)
        .needs_module()
        .memory(3072)
        .timeout(1800),
    guest_test!(tables::a_hundred_thousand_routes_load_in_two_seconds)
        .needs_module()
        .icount()
        .memory(3072)
        .timeout(600),
    guest_test!(fuzz::a_hundred_thousand_random_messages_do_no_harm)
        .needs_module()
        .timeout(3600),
    guest_test!(packets::a_hundred_thousand_random_packets_do_no_harm)
        .needs_module()
        .timeout(3600),
    guest_test!(requests::kernel_and_explain_agree_ten_thousand_times)
        .needs_module()
        .timeout(3600),
    guest_test!(tables::tables_come_and_go_a_thousand_times_under_dumps)
        .needs_module()
        .timeout(3600),
    guest_test!(tables::every_field_corrupted_and_a_hundred_thousand_corruptions_do_no_harm)
        .needs_module()
        .timeout(3600),
];

/// Servers of the distribution: `make test-programs`.
pub const PROGRAMS: &[Test] = &[
    program(guest_test!(programs::nginx_is_served)),
    program(guest_test!(programs::apache_is_served)),
    program(guest_test!(programs::lighttpd_is_served)),
    program(guest_test!(programs::haproxy_is_served)),
    program(guest_test!(programs::caddy_is_served)),
    program(guest_test!(programs::node_is_served)),
    program(guest_test!(programs::gunicorn_is_served)),
    program(guest_test!(programs::tomcat_is_served)),
];

/// They share a machine, so that they share boots.
const fn program(test: Test) -> Test {
    test.needs_module().memory(2048).timeout(600)
}

/// Tests that fail on purpose, by which the harness is tested. They are not run with the others.
pub const SELFTESTS: &[Test] = &[
    guest_test!(selftest::passes),
    guest_test!(selftest::panics),
    guest_test!(selftest::hangs).timeout(2),
    guest_test!(selftest::makes_the_kernel_warn),
    guest_test!(selftest::leaves_a_process_behind),
    guest_test!(selftest::finds_nothing_left_behind),
    guest_test!(selftest::kills_the_kernel),
];

/// What a name stands for: a test, or a crossing as its order names it.
#[must_use]
pub fn job(name: &str) -> Option<Job> {
    if let Some(test) = find(name) {
        return Some(Box::new(test.run));
    }
    let order = crate::crossing::Order::parse(name)?;
    Some(Box::new(move || crate::crossing::run(&order)))
}

/// The test of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Test> {
    TESTS
        .iter()
        .chain(LONG)
        .chain(PROGRAMS)
        .chain(SELFTESTS)
        .find(|test| test.name == name)
}
