#!/usr/bin/env escript
% SPDX-License-Identifier: MIT
% Erlang's inets: its file server, with the modules it has unless told otherwise.
main(_) ->
    {ok, _} = application:ensure_all_started(inets),
    Root = os:getenv("ROOT"),
    {ok, _} = inets:start(httpd, [
        {port, list_to_integer(os:getenv("PORT"))}, {bind_address, {127, 0, 0, 1}}, {server_name, "servers.test"},
        {server_root, os:getenv("DIR")}, {document_root, Root}]),
    receive stop -> ok end.
