----------------------------------------------------- MODULE Journal -----------------------------------------------------
(* What the journal promises that small durable appends of several logs share (docs/storage.md, "Journal"): each log has, after any   *)
(* crash, every acknowledged entry, and nothing that was never appended, was lost before, or is of a log that was removed.        *)
(*                                                                                                                              *)
(* A log's entries are written to the journal in company, or to its own segment; what the journal holds goes to the segments     *)
(* later. The journal has two areas, used in turn. Of segments nothing else is looked at here: SegmentLog.tla does that.          *)
(*                                                                                                                              *)
(* `Flaw` leaves one rule out. TLC must refute each: a check that cannot fail would show nothing.                                 *)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS Logs, Entries, AreaWrites, Lives, Flaw

Areas == {1, 2}
Slots == 1 .. AreaWrites
Offsets == 0 .. Entries - 1
None == -1
Nothing == [sequence |-> None, records |-> {}]
NoRecord == [sequence |-> None]
Empty == [a \in Areas |-> [i \in Slots |-> Nothing]]

VARIABLES
  phase,       \* "up", "down", or how far an open has come: "replayed", "synced", "deleted"
  end,         \* of each log, the next offset that it gives
  kept,        \* entries below are acknowledged: in its segment or in the journal
  inSegment,   \* entries below are in its segment, on stable storage
  writing,     \* up to which entry its segment is being written, or None
  pending,     \* its record that is being written to the journal, or NoRecord
  going,       \* "no", "asked": it is to be removed, "forgotten": the journal says nothing about it any more
  area,        \* the area that is written to
  used,        \* of each area, how many writes it has got since it was begun
  next,        \* sequence of the next write
  underWay,    \* sequences of writes that are not on stable storage yet
  segments,    \* what the segments show: of each offset, in which life it was appended
  disk,        \* what of it is on stable storage
  made,        \* logs that have a segment
  journal,     \* what the journal shows
  diskJournal, \* what of it is on stable storage
  there,       \* the folder shows the journal
  diskThere,   \* it does so after a power cut for certain
  acked,       \* entries below were acknowledged, or shown to a reader
  life,        \* of each log, how often it was opened or made again
  appended     \* in which life each offset was given to the entry that counts

process == <<end, kept, inSegment, writing, pending, going, area, used, next, underWay>>
place == <<there, diskThere>>
files == <<segments, disk, made, journal, diskJournal, place>>
promised == <<acked, life, appended>>
vars == <<phase, process, files, promised>>

Each(value) == [l \in Logs |-> value]
NoEntries == [o \in Offsets |-> None]
Symmetry == Permutations(Logs)

NewProcess ==
  /\ writing' = Each(None) /\ pending' = Each(NoRecord) /\ going' = Each("no")
  /\ area' = 1 /\ used' = [a \in Areas |-> 0] /\ next' = 0 /\ underWay' = {}

Init ==
  /\ phase = "up" /\ end = Each(0) /\ kept = Each(0) /\ inSegment = Each(0)
  /\ writing = Each(None) /\ pending = Each(NoRecord) /\ going = Each("no")
  /\ area = 1 /\ used = [a \in Areas |-> 0] /\ next = 0 /\ underWay = {}
  /\ segments = Each(NoEntries) /\ disk = Each(NoEntries) /\ made = {} /\ journal = Empty /\ diskJournal = Empty
  /\ there = TRUE /\ diskThere = TRUE
  /\ acked = Each(0) /\ life = Each(0) /\ appended = Each(NoEntries)

-----------------------------------------------------------------------------------------------------------------------------
(* The running process. Of each log one write is under way.                                                                     *)

IsIdle(l) == phase = "up" /\ going[l] = "no" /\ writing[l] = None /\ pending[l] = NoRecord

Append(l) ==
  /\ phase = "up" /\ going[l] = "no" /\ end[l] < Entries
  /\ appended' = [appended EXCEPT ![l][end[l]] = life[l]]
  /\ end' = [end EXCEPT ![l] = @ + 1]
  /\ UNCHANGED <<phase, kept, inSegment, writing, pending, going, area, used, next, underWay, files, acked, life>>

RecordOf(l) ==
  [log |-> l, forget |-> going[l] = "asked", from |-> kept[l], to |-> end[l], life |-> life[l], sequence |-> next]

\* What an area held before is found until its first write is on stable storage. Until then what follows it there must stay, and what
\* the other area says of it, too.
IsBegun(a) == used[a] = 0 \/ journal[a][1].sequence \notin underWay \/ Flaw = "Hurry"

\* One write for all logs that have something: entries, or that the journal is to forget them.
WriteJournal ==
  LET with == {l \in Logs : IsIdle(l) /\ kept[l] < end[l]}
      gone == {l \in Logs : phase = "up" /\ going[l] = "asked" /\ pending[l] = NoRecord}
      i == used[area] + 1
  IN  /\ with \cup gone # {} /\ i <= AreaWrites /\ there /\ IsBegun(area)
      /\ journal' = [journal EXCEPT ![area][i] = [sequence |-> next, records |-> {RecordOf(l) : l \in with \cup gone}]]
      /\ pending' = [l \in Logs |-> IF l \in with \cup gone THEN RecordOf(l) ELSE pending[l]]
      /\ made' = made \cup with
      /\ used' = [used EXCEPT ![area] = i]
      /\ next' = next + 1 /\ underWay' = underWay \cup {next}
      /\ UNCHANGED <<phase, end, kept, inSegment, writing, going, area, segments, disk, diskJournal, place, promised>>

\* Writes get to stable storage in any order.
EndWrite(a, i) ==
  /\ phase = "up" /\ journal[a][i].sequence \in underWay /\ i <= used[a]
  /\ underWay' = underWay \ {journal[a][i].sequence}
  /\ diskJournal' = [diskJournal EXCEPT ![a][i] = journal[a][i]]
  /\ UNCHANGED <<phase, end, kept, inSegment, writing, pending, going, area, used, next, segments, disk, made, journal, place, promised>>

\* A replay ends at the first write that is not whole, so each counts only when those before it do.
Counts(sequence) ==
  CASE Flaw = "EarlyAck" -> TRUE
    [] Flaw = "LoneAck" -> sequence \notin underWay
    [] OTHER -> \A s \in underWay : s > sequence

Acknowledge(l) ==
  /\ phase = "up" /\ pending[l] # NoRecord /\ Counts(pending[l].sequence)
  /\ kept' = [kept EXCEPT ![l] = pending[l].to]
  /\ acked' = [acked EXCEPT ![l] = pending[l].to]
  /\ going' = [going EXCEPT ![l] = IF pending[l].forget THEN "forgotten" ELSE @]
  /\ pending' = [pending EXCEPT ![l] = NoRecord]
  /\ UNCHANGED <<phase, end, inSegment, writing, area, used, next, underWay, files, life, appended>>

\* What the journal holds goes to the segment with what is new; so does all that a log writes that is alone.
WriteSegment(l) ==
  /\ IsIdle(l) /\ inSegment[l] < end[l]
  /\ segments' = [segments EXCEPT ![l] = [o \in Offsets |-> IF o \in inSegment[l] .. end[l] - 1 THEN life[l] ELSE @[o]]]
  /\ made' = made \cup {l}
  /\ writing' = [writing EXCEPT ![l] = end[l]]
  /\ UNCHANGED <<phase, end, kept, inSegment, pending, going, area, used, next, underWay, disk, journal, diskJournal, place, promised>>

EndSegment(l) ==
  /\ phase = "up" /\ writing[l] # None
  /\ disk' = [disk EXCEPT ![l] = segments[l]]
  /\ inSegment' = [inSegment EXCEPT ![l] = writing[l]]
  /\ kept' = [kept EXCEPT ![l] = writing[l]]
  /\ acked' = [acked EXCEPT ![l] = writing[l]]
  /\ writing' = [writing EXCEPT ![l] = None]
  /\ UNCHANGED <<phase, end, pending, going, area, used, next, underWay, segments, made, journal, diskJournal, place, life, appended>>

\* The area is needed for entries that are not in their segments, durably.
IsNeeded(r) ==
  LET covered == IF Flaw = "EarlyReuse" /\ writing[r.log] # None THEN writing[r.log] ELSE inSegment[r.log]
  IN  ~r.forget /\ life[r.log] = r.life /\ covered < r.to

IsFree(a) == \A i \in 1 .. used[a] : journal[a][i].sequence \notin underWay /\ \A r \in journal[a][i].records : ~IsNeeded(r)

Switch ==
  LET other == 3 - area
  IN  /\ phase = "up" /\ used[area] = AreaWrites /\ IsFree(other) /\ IsBegun(area)
      /\ area' = other
      /\ used' = [used EXCEPT ![other] = 0]
      /\ UNCHANGED <<phase, end, kept, inSegment, writing, pending, going, next, underWay, files, promised>>

IsNamed(l) == there /\ \E a \in Areas, i \in Slots : \E r \in journal[a][i].records \cup diskJournal[a][i].records : r.log = l

\* A log that is removed was closed, so all of it is in its segment. Then the journal forgets it, then it goes, and may be made again.
AskToRemove(l) ==
  /\ IsIdle(l) /\ end[l] > 0 /\ inSegment[l] = end[l] /\ life[l] < Lives
  /\ going' = [going EXCEPT ![l] = "asked"]
  /\ UNCHANGED <<phase, end, kept, inSegment, writing, pending, area, used, next, underWay, files, promised>>

Remove(l) ==
  /\ phase = "up" /\ pending[l] = NoRecord
  /\ going[l] = "forgotten" \/ (going[l] = "asked" /\ (~IsNamed(l) \/ Flaw = "NoForgetting"))
  /\ end' = [end EXCEPT ![l] = 0] /\ kept' = [kept EXCEPT ![l] = 0] /\ inSegment' = [inSegment EXCEPT ![l] = 0]
  /\ going' = [going EXCEPT ![l] = "no"]
  /\ segments' = [segments EXCEPT ![l] = NoEntries] /\ disk' = [disk EXCEPT ![l] = NoEntries] /\ made' = made \ {l}
  /\ acked' = [acked EXCEPT ![l] = 0] /\ life' = [life EXCEPT ![l] = @ + 1] /\ appended' = [appended EXCEPT ![l] = NoEntries]
  /\ UNCHANGED <<phase, writing, pending, area, used, next, underWay, journal, diskJournal, place>>

-----------------------------------------------------------------------------------------------------------------------------
(* Crashes, also while the store is being opened. What a power cut leaves is from then on all that there is.                    *)

Down == phase' = "down" /\ end' = Each(0) /\ kept' = Each(0) /\ inSegment' = Each(0) /\ NewProcess

Kill == phase # "down" /\ Down /\ UNCHANGED <<files, promised>>

PowerCut ==
  /\ Down
  /\ \E lost \in SUBSET {<<l, o>> \in Logs \X Offsets : segments[l][o] # disk[l][o]} :
       segments' = [l \in Logs |-> [o \in Offsets |-> IF <<l, o>> \in lost THEN disk[l][o] ELSE segments[l][o]]]
  /\ LET unsure == {<<a, i>> \in Areas \X Slots : journal[a][i] # diskJournal[a][i]}
     IN  \E lost \in SUBSET unsure : \E torn \in SUBSET lost :
           journal' = [a \in Areas |-> [i \in Slots |->
             IF <<a, i>> \in torn THEN Nothing ELSE IF <<a, i>> \in lost THEN diskJournal[a][i] ELSE journal[a][i]]]
  /\ there' = (there \/ diskThere) /\ diskThere' = there'
  /\ disk' = segments' /\ diskJournal' = journal'
  /\ UNCHANGED <<made, promised>>

-----------------------------------------------------------------------------------------------------------------------------
(* An open: of the writes of both areas, in the order of their sequences, every record is brought to its place; then the journal is *)
(* deleted, and then the logs are recovered.                                                                                    *)

Follows(a, i) == journal[a][i] # Nothing /\ (i = 1 \/ journal[a][i].sequence = journal[a][i - 1].sequence + 1)
Found == {<<a, i>> \in Areas \X Slots : there /\ \A j \in 1 .. i : Follows(a, j)}
Order(w) == IF Flaw = "ReplayByArea" THEN w[1] * 10 + w[2] ELSE journal[w[1]][w[2]].sequence
RecordsOf(w) == journal[w[1]][w[2]].records
IsForgotten(w, l) == \E v \in Found : Order(v) > Order(w) /\ \E r \in RecordsOf(v) : r.log = l /\ r.forget

\* A log without a segment was removed: it is passed over.
Replayed(l) ==
  LET with(o) == {w \in Found : ~IsForgotten(w, l) /\ \E r \in RecordsOf(w) : r.log = l /\ ~r.forget /\ o \in r.from .. r.to - 1}
      last(o) == CHOOSE w \in with(o) : \A v \in with(o) : Order(v) <= Order(w)
  IN  IF l \notin made \/ Flaw = "NoReplay" THEN segments[l]
      ELSE [o \in Offsets |-> IF with(o) = {} THEN segments[l][o] ELSE (CHOOSE r \in RecordsOf(last(o)) : r.log = l).life]

Replay ==
  /\ phase = "down" /\ \A l \in Logs : life[l] < Lives
  /\ phase' = "replayed"
  /\ segments' = [l \in Logs |-> Replayed(l)]
  /\ UNCHANGED <<process, disk, made, journal, diskJournal, place, promised>>

\* Also of what stood there already: a process that was killed may have written it, and not synced.
SyncSegments ==
  /\ phase = "replayed"
  /\ phase' = "synced"
  /\ disk' = IF Flaw = "UnsyncedReplay" THEN disk ELSE segments
  /\ UNCHANGED <<process, segments, made, journal, diskJournal, place, promised>>

DeleteJournal ==
  /\ phase = "synced"
  /\ phase' = "deleted"
  /\ there' = FALSE
  /\ UNCHANGED <<process, segments, disk, made, journal, diskJournal, diskThere, promised>>

RunEnd(entries) == CHOOSE e \in 0 .. Entries : (\A o \in 0 .. e - 1 : entries[o] # None) /\ (e = Entries \/ entries[e] = None)

\* Once the deletion is on stable storage. A new journal is a new file.
Recover ==
  /\ phase = "deleted"
  /\ phase' = "up"
  /\ IF Flaw = "JournalReturns" THEN UNCHANGED <<journal, diskJournal, place>>
     ELSE journal' = Empty /\ diskJournal' = Empty /\ there' = TRUE /\ diskThere' = TRUE
  /\ end' = [l \in Logs |-> RunEnd(segments[l])] /\ kept' = end' /\ inSegment' = end' /\ acked' = end'
  /\ segments' = [l \in Logs |-> [o \in Offsets |-> IF o < end'[l] THEN segments[l][o] ELSE None]]
  /\ disk' = IF Flaw = "UnsyncedReplay" THEN disk ELSE segments'
  /\ life' = [l \in Logs |-> life[l] + 1]
  /\ NewProcess
  /\ UNCHANGED <<made, appended>>

Next ==
  \/ \E l \in Logs : Append(l) \/ Acknowledge(l) \/ WriteSegment(l) \/ EndSegment(l) \/ AskToRemove(l) \/ Remove(l)
  \/ WriteJournal \/ Switch \/ \E a \in Areas, i \in Slots : EndWrite(a, i)
  \/ Kill \/ PowerCut
  \/ Replay \/ SyncSegments \/ DeleteJournal \/ Recover

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------------------------------------------------------
(* The promise, whenever the store is down.                                                                                     *)

Promise ==
  phase # "up" => \A l \in Logs :
    LET shown == Replayed(l)
    IN  RunEnd(shown) >= acked[l] /\ \A o \in 0 .. RunEnd(shown) - 1 : shown[o] = appended[l][o]
=============================================================================================================================
