% SPDX-License-Identifier: MIT
% SWI-Prolog: its files.
:- use_module(library(http/thread_httpd)).
:- use_module(library(http/http_dispatch)).
:- use_module(library(http/http_files)).
:- use_module(library(http/http_client)).

:- http_handler(root(echo), echo, []).
:- http_handler(root(.), files, [prefix]).

files(Request) :-
    getenv('ROOT', Root),
    http_reply_from_files(Root, [], Request).
files(Request) :-
    memberchk(path(Path), Request),
    throw(http_reply(not_found(Path))).

echo(Request) :-
    http_read_data(Request, Data, [to(string)]),
    format('Content-type: text/plain~n~n~w', [Data]).

main :-
    getenv('PORT', Text),
    atom_number(Text, Port),
    http_server(http_dispatch, [port('127.0.0.1':Port)]),
    thread_get_message(stop).
