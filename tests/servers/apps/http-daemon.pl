# SPDX-License-Identifier: MIT
# HTTP::Daemon as its manual shows it: files, and an echo; a process for each connection.
use strict;
use warnings;
use HTTP::Daemon;
use HTTP::Response;
use HTTP::Status;

my $daemon = HTTP::Daemon->new(LocalAddr => '127.0.0.1', LocalPort => $ENV{PORT}, ReuseAddr => 1) or die "$!";
$SIG{CHLD} = 'IGNORE';
while (my $connection = $daemon->accept) {
    next if fork;
    while (my $request = $connection->get_request) {
        my $path = $request->uri->path;
        if ($request->method eq 'POST' and $path eq '/echo') {
            $connection->send_response(HTTP::Response->new(200, 'OK', ['Content-Type', 'text/plain'], $request->content));
        } elsif ($request->method eq 'GET' and $path !~ /\.\./) {
            $connection->send_file_response($ENV{ROOT} . $path);
        } else {
            $connection->send_error(RC_FORBIDDEN);
        }
    }
    exit;
}
