#!/usr/bin/perl
# A handler from scratch, written from docs/protocol.md. Needs Data::MessagePack (Debian: libdata-messagepack-perl).
#
#	perl handler.pl                           (or: pgconductor run -- perl handler.pl)
#	pgconductor invoke greet '{"name": "World"}' --wait
#
# Besides greet it has the tasks of docs/conform.md: pgconductor conform -- perl handler.pl
use strict;
use warnings;
use Data::MessagePack;
use Fcntl;
use JSON::PP;

use constant { HELLO => 1, RUN => 3, DONE => 4, FAIL => 5, REJECT => 6, DRAIN => 9, BYE => 10, LOG => 11 };

exec("pgconductor", "run", "--", $^X, $0, @ARGV) || exit 69 unless defined $ENV{PGCONDUCTOR_FD};
open(my $worker, "+<&=", $ENV{PGCONDUCTOR_FD}) or die "descriptor $ENV{PGCONDUCTOR_FD}: $!\n";
fcntl($worker, F_SETFD, FD_CLOEXEC);        # programs started from here do not get the socket
binmode(STDOUT, ":encoding(UTF-8)");
$| = 1;                                     # lines are logged as they are printed

my $msgpack = Data::MessagePack->new->utf8; # text is packed as str, not as bin
my $json = JSON::PP->new->allow_nonref;
my $max_payload;

sub send_frame {
    my ($type, $exec, $fields) = @_;
    my $frame = pack("N/a*", $msgpack->pack([$type, $exec, $fields]));
    for (my $sent = 0; $sent < length $frame;) {
        $sent += syswrite($worker, $frame, length($frame) - $sent, $sent) || exit 1;
    }
}

sub read_exactly {
    my ($want, $data) = (shift, "");
    while (length $data < $want) {
        sysread($worker, $data, $want - length $data, length $data) || exit 0;
    }
    return $data;
}

# A task is called with its decoded payload and the number of its execution. It returns what JSON can hold, or dies: with
# text, or with a hash of fields for FAIL.
my %tasks = (
    "greet" => sub { { greeting => "Hello, $_[0]{name}!" } },
    "conform.echo" => sub { $_[0] },
    "conform.null" => sub { undef },
    "conform.repeat" => sub { $_[0]{text} x $_[0]{times} },
    "conform.print" => sub { print "$_[0]{text}\n"; undef },
    "conform.sleep" => sub { select(undef, undef, undef, $_[0]{ms} / 1000); $_[0]{ms} },
    "conform.log" => sub { send_frame(LOG, $_[1], { level => $_[0]{level}, message => $_[0]{message} }); undef },
    "conform.fail" => sub {
        my %error = (message => $_[0]{message} // "no reason given");
        $error{retry} = Data::MessagePack::false() if exists $_[0]{retry} && !$_[0]{retry};
        $error{after_ms} = int $_[0]{after_ms} if exists $_[0]{after_ms};
        die \%error;
    },
);
my %elsewhere = ("conform.elsewhere" => sub { undef });    # of the queue "other"

sub run {
    my ($exec, $fields) = @_;
    my $task = $tasks{ $fields->{task} } // $elsewhere{ $fields->{task} };
    my $result = eval {
        die "there is no task $fields->{task}\n" unless $task;
        my $text = $json->encode($task->($json->decode($fields->{event}{payload}), $exec));
        utf8::encode(my $bytes = $text);
        die { code => "oversize", message => "the result is too long", retry => Data::MessagePack::false() }
            if length $bytes > $max_payload;
        $text;
    };
    return send_frame(DONE, $exec, { result => $result }) if defined $result;
    my %error = ref $@ eq "HASH" ? %{$@} : (message => "$@");
    chomp $error{message};
    send_frame(FAIL, $exec, { code => "app", %error });
}

my $queue = $ENV{PGCONDUCTOR_QUEUE};
my @announced = ((map { { name => $_ } } !defined $queue || $queue eq "default" ? sort keys %tasks : ()),
    (map { { name => $_, queue => "other" } } !defined $queue || $queue eq "other" ? keys %elsewhere : ()));
# One at a time; more wait in the socket, so that the next is here when one is done.
send_frame(HELLO, 0, { protocols => [1], sdk => "perl", capabilities => ["drain", "log"], credit => 8, concurrency => 1,
    tasks => \@announced });
while (1) {
    my ($type, $exec, $fields) = @{ $msgpack->unpack(read_exactly(unpack("N", read_exactly(4)))) };
    $max_payload = $fields->{max_payload} if $type == 2;
    run($exec, $fields) if $type == RUN;
    die "refused: $fields->{reason}\n" if $type == REJECT;
    send_frame(BYE, 0, {}) if $type == DRAIN;   # what came before it has been run
}
