# SPDX-License-Identifier: MIT
# A PSGI application: Plack's static files, an echo, and content of unknown length.
use strict;
use warnings;
use Plack::App::File;

my $files = Plack::App::File->new(root => $ENV{ROOT})->to_app;
sub {
    my $env = shift;
    if ($env->{PATH_INFO} eq '/echo') {
        my $body = '';
        while ($env->{'psgi.input'}->read(my $part, 65536)) { $body .= $part }
        return [200, ['Content-Type', 'application/octet-stream', 'Content-Length', length $body], [$body]];
    }
    if ($env->{PATH_INFO} eq '/stream') {
        return sub {
            my $out = shift->([200, ['Content-Type', 'text/plain']]);
            $out->write("part $_\n") for 0 .. 2;
            $out->close;
        };
    }
    return $files->($env);
};
