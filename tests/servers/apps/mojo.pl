# SPDX-License-Identifier: MIT
# Mojolicious: its static files, and an echo.
use Mojolicious::Lite;

app->static->paths([$ENV{ROOT}]);
app->secrets(['servers']);
app->log->level('fatal');
post '/echo' => sub { my $c = shift; $c->render(data => $c->req->body) };
app->start;
