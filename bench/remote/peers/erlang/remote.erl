%% Erlang distribution: two nodes on loopback, plain or over TLS; see src/peers/erlang.rs.
%%
%%   server INBOX                      prints its operating-system process id, ends with its input
%%   client WORKLOAD N SERVER PID HOME prints the figures as one line of JSON
-module(remote).
-export([server/1, client/1]).

-define(MAILBOXES, 1000).
-define(SENDERS, 64).
-define(ASKERS, 256).
-define(NOTICE_LIMIT, 10000).
-define(CHUNK, 262144).
-define(WINDOW, 16).

%% ---- the receiving node

server([Inbox]) ->
    Counted = counters:new(2, [atomics]),
    Mailboxes = [spawn(fun() -> mailbox(Counted) end) || _ <- lists:seq(1, ?MAILBOXES)],
    register(hub, spawn(fun() -> hub(Counted, Mailboxes, Inbox) end)),
    io:format("~s~n", [os:getpid()]),
    %% Until the pipe is closed.
    eof = io:get_line(""),
    halt(0, [{flush, false}]).

mailbox(Counted) ->
    receive
        {data, N, _Body} ->
            %% What is counted has been added.
            counters:add(Counted, 2, N),
            counters:add(Counted, 1, 1);
        {ask, From, N} ->
            From ! {From, N}
    end,
    mailbox(Counted).

%% Gives out the mailboxes, what has been counted, and files.
hub(Counted, Mailboxes, Inbox) ->
    receive
        {mailboxes, From} ->
            From ! {From, Mailboxes};
        {count, From, N} ->
            spawn(fun() -> From ! {From, count(Counted, N)} end);
        {file, From, Name} ->
            From ! {From, spawn(fun() -> writer(filename:join(Inbox, Name)) end)}
    end,
    hub(Counted, Mailboxes, Inbox).

count(Counted, N) ->
    case counters:get(Counted, 1) of
        Count when Count >= N -> {Count, counters:get(Counted, 2), cpu()};
        _ -> timer:sleep(1), count(Counted, N)
    end.

%% A raw file is only for the process that has opened it.
writer(Path) ->
    {ok, File} = file:open(Path, [write, raw, binary]),
    write(File).

write(File) ->
    receive
        {chunk, From, At, Bytes} ->
            ok = file:pwrite(File, At, Bytes),
            From ! {From, byte_size(Bytes)},
            write(File);
        {close, From} ->
            ok = file:close(File),
            From ! {From, closed}
    end.

%% ---- the sending node

client([Workload, N, Server, Pid, Home]) ->
    Node = list_to_atom(Server),
    true = net_kernel:connect_node(Node),
    {hub, Node} ! {mailboxes, Mine = alias([reply])},
    Mailboxes = list_to_tuple(receive {Mine, All} -> All end),
    Figures = run(list_to_atom(Workload), list_to_integer(N), {Node, Mailboxes, Pid, Home}),
    Fields = [io_lib:format("\"~s\":~f", [Name, Value * 1.0]) || {Name, Value} <- Figures],
    io:format("{~s}~n", [lists:join(",", Fields)]),
    halt(0).

run(small, N, Setting) -> warm(fun(Part) -> one_way(Part, 56, Setting) end, N);
run(large, N, Setting) -> warm(fun(Part) -> one_way(Part, 1016, Setting) end, N);
run(ping, N, Setting) -> warm(fun(Part) -> ping(Part, Setting) end, N);
run(ask, N, Setting) -> warm(fun(Part) -> ask(Part, Setting) end, N);
run(bulk, N, Setting) ->
    bulk("warm-up", N div 20, Setting),
    bulk("file", N, Setting);
run(kill, _, Setting) -> loss("-KILL", Setting);
run(freeze, _, Setting) -> loss("-STOP", Setting).

warm(Run, N) ->
    Run(N div 20 + 1),
    Run(N).

one_way(N, Size, {Node, Mailboxes, _, _}) ->
    Each = max(1, N div ?SENDERS),
    {Before, SumBefore, TheirCpu} = counted(Node, 0),
    {Start, Cpu} = {now_us(), cpu()},
    in_parallel(?SENDERS, fun(Sender) ->
        Body = binary:copy(<<Sender>>, Size),
        send(0, Each, Sender * 17, Body, Mailboxes)
    end),
    Sent = Each * ?SENDERS,
    {_, Sum, TheirCpuAfter} = counted(Node, Before + Sent),
    Elapsed = now_us() - Start,
    Expected = ?SENDERS * (Each * (Each - 1) div 2),
    Expected = Sum - SumBefore,
    Used = cpu() - Cpu + TheirCpuAfter - TheirCpu,
    [{thousands, Sent * 1000 / Elapsed}, {cpu_micros, Used * 1000 / Sent}].

send(Each, Each, _, _, _) -> ok;
send(N, Each, From, Body, Mailboxes) ->
    element((From + N * 13) rem ?MAILBOXES + 1, Mailboxes) ! {data, N, Body},
    send(N + 1, Each, From, Body, Mailboxes).

counted(Node, N) ->
    {hub, Node} ! {count, Mine = alias([reply]), N},
    receive {Mine, Counted} -> Counted end.

ping(N, {_, Mailboxes, _, _}) ->
    Trips = lists:sort([trip(I, Mailboxes) || I <- lists:seq(0, N - 1)]),
    At = fun(Share) -> lists:nth(trunc((N - 1) * Share) + 1, Trips) / 1000 end,
    [{median_micros, At(0.5)}, {tail_micros, At(0.99)}].

trip(N, Mailboxes) ->
    Start = erlang:monotonic_time(nanosecond),
    question(element(N rem ?MAILBOXES + 1, Mailboxes), N),
    erlang:monotonic_time(nanosecond) - Start.

%% As gen_server:call does it.
question(Mailbox, N) ->
    Mine = erlang:monitor(process, Mailbox, [{alias, reply_demonitor}]),
    Mailbox ! {ask, Mine, N},
    receive
        {Mine, N} -> ok;
        {'DOWN', Mine, _, _, Reason} -> exit(Reason)
    end.

ask(N, {_, Mailboxes, _, _}) ->
    Each = (N + ?ASKERS - 1) div ?ASKERS,
    Start = now_us(),
    in_parallel(?ASKERS, fun(Asker) ->
        [question(element((Asker + I * 13) rem ?MAILBOXES + 1, Mailboxes), I)
         || I <- lists:seq(0, Each - 1)]
    end),
    [{thousands, Each * ?ASKERS * 1000 / (now_us() - Start)}].

bulk(Name, Size, {Node, _, _, Home}) ->
    Path = filename:join(Home, Name),
    Start = now_us(),
    {hub, Node} ! {file, Mine = alias([reply]), Name},
    Writer = receive {Mine, It} -> It end,
    {ok, File} = file:open(Path, [read, raw, binary]),
    chunks(File, Writer, 0, []),
    Writer ! {close, Closed = alias([reply])},
    receive {Closed, closed} -> ok end,
    Elapsed = now_us() - Start,
    [{mebibytes, Size / 1048576 * 1000000 / Elapsed}].

chunks(File, Writer, At, UnderWay) when length(UnderWay) < ?WINDOW ->
    case file:read(File, ?CHUNK) of
        {ok, Bytes} ->
            Writer ! {chunk, Mine = alias([reply]), At, Bytes},
            Size = byte_size(Bytes),
            chunks(File, Writer, At + Size, UnderWay ++ [{Mine, Size}]);
        eof ->
            [receive Written -> ok end || Written <- UnderWay],
            ok = file:close(File)
    end;
chunks(File, Writer, At, [Oldest | UnderWay]) ->
    receive Oldest -> ok end,
    chunks(File, Writer, At, UnderWay).

loss(Signal, {Node, Mailboxes, Pid, _}) ->
    question(element(1, Mailboxes), 7),
    true = erlang:monitor_node(Node, true),
    Start = now_us(),
    os:cmd("kill " ++ Signal ++ " " ++ Pid),
    receive
        {nodedown, Node} -> [{noticed_millis, (now_us() - Start) / 1000}]
    after ?NOTICE_LIMIT -> []
    end.

%% ---- both

in_parallel(N, Run) ->
    Monitors = [spawn_monitor(fun() -> Run(I) end) || I <- lists:seq(0, N - 1)],
    [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Monitors].

now_us() -> erlang:monotonic_time(microsecond).

%% Milliseconds of CPU time of this node so far.
cpu() -> element(1, erlang:statistics(runtime)).
