%% The workloads for Erlang: a process per mailbox, messages are {A, B}.
%%
%% "erl -run bench main WORKLOAD N" runs one workload after a warm-up and prints one line of JSON,
%% as the Rust peers do.
-module(bench).
-export([main/1]).

-define(PRODUCERS, 64).
-define(PAIRS, 1000).
-define(RING, 10000).
-define(SUBSCRIBERS, 1000).

main([Workload, Size]) ->
    N = list_to_integer(Size),
    %% In a process of its own: the one that runs main has a large heap from starting up.
    {_, Monitor} = spawn_monitor(fun() -> run(Workload, N) end),
    receive
        {'DOWN', Monitor, process, _, normal} -> halt(0);
        {'DOWN', Monitor, process, _, Reason} ->
            io:format(standard_error, "~p~n", [Reason]),
            halt(1)
    end.

run("w1", N) ->
    idle(1000),
    {Spawned, Delivered, Before, After} = idle(N),
    io:format("{\"ops\":~b,\"seconds\":~.6f,\"deliver_seconds\":~.6f", [N, Spawned, Delivered]),
    case is_integer(Before) andalso is_integer(After) of
        true -> io:format(",\"rss_before\":~b,\"rss_after\":~b}~n", [Before, After]);
        false -> io:format("}~n")
    end;
run(Workload, N) ->
    measure(Workload, (N + 19) div 20),
    {Ops, Seconds} = measure(Workload, N),
    io:format("{\"ops\":~b,\"seconds\":~.6f}~n", [Ops, Seconds]).

measure("w2", N) -> fan_in(1, N);
measure("w3", N) -> fan_in(?PRODUCERS, N);
measure("w4", N) -> ping_pong(1, N);
measure("ask", N) -> ask(N);
measure("w5", N) -> ping_pong(?PAIRS, N);
measure("w6", N) -> rings(1, ?RING, N);
measure("w7", N) -> fan_out(N).

idle(N) ->
    Me = self(),
    Waiting = counters:new(2, [atomics]),
    Before = rss(),
    Start = erlang:monotonic_time(),
    All = [spawn(fun() -> waiter(Me, Waiting, N) end) || _ <- lists:seq(1, N)],
    receive waiting -> ok end,
    Spawned = seconds_since(Start),
    After = rss(),
    Again = erlang:monotonic_time(),
    lists:foreach(fun(Pid) -> Pid ! {1, 1} end, All),
    receive got -> ok end,
    {Spawned, seconds_since(Again), Before, After}.

%% Counting with shared counters, as the other peers do, so that the one who waits is told once.
waiter(Main, Counters, N) ->
    arrive(Main, Counters, 1, N, waiting),
    receive {1, 1} -> arrive(Main, Counters, 2, N, got) end.

arrive(Main, Counters, Index, N, Tell) ->
    counters:add(Counters, Index, 1),
    %% More than one may see the full count; the second message is ignored.
    case counters:get(Counters, Index) of
        N -> Main ! Tell;
        _ -> ok
    end.

fan_in(Producers, N) ->
    Me = self(),
    Each = N div Producers,
    Consumer = spawn_link(fun() -> sum(Me, Each * Producers, 0) end),
    Start = erlang:monotonic_time(),
    [spawn_link(fun() -> produce(Consumer, 0, Each) end) || _ <- lists:seq(1, Producers)],
    Sum = receive {sum, S} -> S end,
    Seconds = seconds_since(Start),
    check_sum(Sum, Each, Producers),
    {Each * Producers, Seconds}.

produce(_, N, N) -> ok;
produce(To, A, N) ->
    To ! {A, 1},
    produce(To, A + 1, N).

sum(Main, 0, Sum) -> Main ! {sum, Sum};
sum(Main, Left, Sum) -> receive {A, _} -> sum(Main, Left - 1, Sum + A) end.

%% A pair is a ring of two, a round trip two hops in it.
ping_pong(Count, RoundTrips) ->
    {Hops, Seconds} = rings(Count, 2, 2 * RoundTrips div Count),
    {Hops div 2, Seconds}.

rings(Count, Size, Hops) ->
    Me = self(),
    First = [ring(Me, Size) || _ <- lists:seq(1, Count)],
    Start = erlang:monotonic_time(),
    lists:foreach(fun(Pid) -> Pid ! {Hops, 0} end, First),
    Total = collect(Count, 0),
    Seconds = seconds_since(Start),
    check(Total, Count * Hops),
    {Total, Seconds}.

ring(Main, Size) ->
    Last = spawn_link(fun() -> receive {next, Pid} -> hop(Main, Pid) end end),
    First = lists:foldl(
        fun(_, Next) -> spawn_link(fun() -> hop(Main, Next) end) end,
        Last,
        lists:seq(2, Size)
    ),
    Last ! {next, First},
    First.

hop(Main, Next) ->
    receive
        {0, B} -> Main ! {sum, B};
        {A, B} -> Next ! {A - 1, B + 1}
    end,
    hop(Main, Next).

ask(N) ->
    Me = self(),
    Echo = spawn_link(fun echo/0),
    Start = erlang:monotonic_time(),
    spawn_link(fun() -> Me ! {sum, ask(Echo, 0, N, 0)} end),
    Sum = receive {sum, S} -> S end,
    Seconds = seconds_since(Start),
    check_sum(Sum, N, 1),
    {N, Seconds}.

%% What gen_server:call does: a monitor, so that a dead server is an answer.
ask(_, N, N, Sum) -> Sum;
ask(Echo, A, N, Sum) ->
    Ref = monitor(process, Echo, [{alias, reply_demonitor}]),
    Echo ! {ask, Ref, {A, 0}},
    receive
        {Ref, {A1, B}} -> ask(Echo, A + 1, N, Sum + A1 * B);
        {'DOWN', Ref, _, _, Reason} -> exit(Reason)
    end.

echo() ->
    receive {ask, Ref, {A, B}} -> Ref ! {Ref, {A, B + 1}} end,
    echo().

fan_out(N) ->
    Me = self(),
    All = [spawn_link(fun() -> sum(Me, N, 0) end) || _ <- lists:seq(1, ?SUBSCRIBERS)],
    Start = erlang:monotonic_time(),
    spawn_link(fun() -> broadcast(All, 0, N) end),
    Total = collect(?SUBSCRIBERS, 0),
    Seconds = seconds_since(Start),
    check_sum(Total, N, ?SUBSCRIBERS),
    {N * ?SUBSCRIBERS, Seconds}.

broadcast(_, N, N) -> ok;
broadcast(All, A, N) ->
    lists:foreach(fun(Pid) -> Pid ! {A, 1} end, All),
    broadcast(All, A + 1, N).

collect(0, Sum) -> Sum;
collect(Left, Sum) -> receive {sum, S} -> collect(Left - 1, Sum + S) end.

check_sum(Sum, N, Times) -> check(Sum, Times * (N * (N - 1) div 2)).

check(Same, Same) -> ok;
check(Got, Expected) -> exit({wrong_result, Got, instead_of, Expected}).

seconds_since(Start) ->
    erlang:convert_time_unit(erlang:monotonic_time() - Start, native, nanosecond) / 1.0e9.

%% Resident memory of this process in bytes, or none where the system does not tell.
rss() ->
    case file:read_file("/proc/self/status") of
        {ok, Status} ->
            case re:run(Status, "VmRSS:\\s+(\\d+) kB", [{capture, [1], binary}]) of
                {match, [Kilobytes]} -> binary_to_integer(Kilobytes) * 1024;
                nomatch -> none
            end;
        {error, _} -> none
    end.
