---------------------------------------------------- MODULE SegmentLog ----------------------------------------------------
(* What a log of the native engine promises, and the order of its steps that the promise rests on (docs/storage.md).             *)
(*                                                                                                                              *)
(* A log is appended to, written, synced, rolled, truncated from the front, closed cleanly, killed, and loses its power. A power cut *)
(* leaves any part of what was not synced, of the entries and of the names. At any moment that the log is down, opening it must show *)
(* every acknowledged entry, in order, nothing that was never appended or was lost before, and no start that moved back.          *)
(*                                                                                                                              *)
(* `Flaw` leaves one rule out. TLC must refute each: a check that cannot fail would show nothing.                                 *)
EXTENDS Integers, FiniteSets

CONSTANTS Entries, Crashes, Flaw

Offsets == 0 .. Entries - 1
None == -1

VARIABLES
  up,          \* the process runs
  end,         \* the next offset it gives
  base,        \* the segment that it writes to
  ready,       \* name of that segment synced, mark of the clean close gone: it may be written to
  written,     \* entries below are written
  synced,      \* entries below are on stable storage, as far as the process knows
  data,        \* what files show: records of the segment, the offset and the life in which it was appended
  disk,        \* what of it is on stable storage
  names,       \* the segments that the folder shows
  diskNames,   \* those that it shows after a power cut for certain
  start,       \* the start offset that its file shows
  diskStart,   \* ... after a power cut for certain
  mark,        \* the end that a clean close has written down, or None
  diskMark,
  acked,       \* entries below were acknowledged, or shown to a reader
  ackedStart,  \* so was this start
  life,        \* how often it was opened
  appended     \* in which life each offset was given to the entry that counts

vars == <<up, end, base, ready, written, synced, data, disk, names, diskNames, start, diskStart, mark, diskMark, acked, ackedStart,
          life, appended>>

process == <<end, base, ready, written, synced>>
files == <<data, disk, names, diskNames, start, diskStart, mark, diskMark>>
promised == <<acked, ackedStart, life, appended>>

Max(S) == CHOOSE x \in S : \A y \in S : y <= x
Min(S) == CHOOSE x \in S : \A y \in S : x <= y

Init ==
  /\ up = TRUE /\ end = 0 /\ base = 0 /\ ready = FALSE /\ written = 0 /\ synced = 0
  /\ data = {} /\ disk = {} /\ names = {} /\ diskNames = {}
  /\ start = 0 /\ diskStart = 0 /\ mark = None /\ diskMark = None
  /\ acked = 0 /\ ackedStart = 0 /\ life = 0 /\ appended = [o \in Offsets |-> 0]

-----------------------------------------------------------------------------------------------------------------------------
(* The running process.                                                                                                        *)

Append ==
  /\ up /\ end < Entries
  /\ appended' = [appended EXCEPT ![end] = life]
  /\ end' = end + 1
  /\ UNCHANGED <<up, base, ready, written, synced, files, acked, ackedStart, life>>

MakeSegment ==
  /\ up /\ ~ready /\ end > written /\ base \notin names
  /\ names' = names \cup {base}
  /\ UNCHANGED <<up, process, data, disk, diskNames, start, diskStart, mark, diskMark, promised>>

\* Before the first write: the mark of a clean close goes, and the folder is synced.
Prepare ==
  /\ up /\ ~ready /\ base \in names
  /\ ready' = TRUE
  /\ mark' = IF Flaw = "KeepMark" THEN mark ELSE None
  /\ diskMark' = IF Flaw = "KeepMark" THEN diskMark ELSE None
  /\ diskNames' = IF Flaw = "NoFolderSync" THEN diskNames ELSE names
  /\ UNCHANGED <<up, end, base, written, synced, data, disk, names, start, diskStart, promised>>

Write ==
  /\ up /\ ready /\ written < end
  /\ data' = data \cup {[segment |-> base, offset |-> o, life |-> appended[o]] : o \in written .. end - 1}
  /\ written' = end
  /\ UNCHANGED <<up, end, base, ready, synced, disk, names, diskNames, start, diskStart, mark, diskMark, promised>>

\* An fsync that fails ends the life of the log: that is the same as Kill.
Sync ==
  /\ up /\ synced < written
  /\ disk' = disk \cup {r \in data : r.segment = base}
  /\ synced' = written
  /\ UNCHANGED <<up, end, base, ready, written, data, names, diskNames, start, diskStart, mark, diskMark, promised>>

Acknowledge ==
  /\ up
  /\ LET sure == IF Flaw = "EarlyAck" THEN written ELSE synced
     IN  acked < sure /\ acked' = sure
  /\ UNCHANGED <<up, process, files, ackedStart, life, appended>>

\* Nothing is written to the next segment before this one is on stable storage.
Roll ==
  /\ up /\ ready /\ written = end /\ end > base
  /\ synced = end \/ Flaw = "RollUnsynced"
  /\ base' = end /\ ready' = FALSE /\ synced' = end
  /\ UNCHANGED <<up, end, written, files, promised>>

\* The new start is durable first, then what lies below it may go; the names that went are synced at some time.
MoveStart ==
  /\ up /\ start < acked
  /\ start' \in start + 1 .. acked
  /\ UNCHANGED <<up, process, data, disk, names, diskNames, diskStart, mark, diskMark, promised>>

SyncStart ==
  /\ up /\ diskStart # start
  /\ diskStart' = start
  /\ UNCHANGED <<up, process, data, disk, names, diskNames, start, mark, diskMark, promised>>

AcknowledgeStart ==
  /\ up /\ ackedStart < diskStart
  /\ ackedStart' = diskStart
  /\ UNCHANGED <<up, process, files, acked, life, appended>>

EndOf(b, N) == LET later == {n \in N \cup {base} : n > b} IN IF later = {} THEN end ELSE Min(later)

Delete ==
  /\ up
  /\ LET safe == IF Flaw = "DeleteFirst" THEN start ELSE diskStart
         doomed == {b \in names : b < base /\ EndOf(b, names) <= safe}
     IN  doomed # {} /\ names' = names \ doomed
  /\ data' = {r \in data : r.segment \in names'}
  /\ UNCHANGED <<up, process, disk, diskNames, start, diskStart, mark, diskMark, promised>>

SyncFolder ==
  /\ up /\ diskNames # names
  /\ diskNames' = names
  /\ disk' = {r \in disk : r.segment \in names}
  /\ UNCHANGED <<up, process, data, names, start, diskStart, mark, diskMark, promised>>

\* The mark is written when all is on stable storage, and synced; then the process ends.
BeginClose ==
  /\ up /\ synced = end /\ end > base /\ mark = None /\ base \in names
  /\ mark' = end
  /\ ready' = FALSE
  /\ UNCHANGED <<up, end, base, written, synced, data, disk, names, diskNames, start, diskStart, diskMark, promised>>

EndClose ==
  /\ up /\ mark = end /\ ~ready
  /\ diskMark' = mark
  /\ up' = FALSE
  /\ acked' = end
  /\ UNCHANGED <<process, data, disk, names, diskNames, start, diskStart, mark, ackedStart, life, appended>>

-----------------------------------------------------------------------------------------------------------------------------
(* Crashes. What a power cut leaves is from then on all that there is.                                                          *)

Kill == up /\ up' = FALSE /\ UNCHANGED <<process, files, promised>>

PowerCut ==
  /\ life < Crashes
  /\ up' = FALSE
  /\ \E N \in SUBSET (names \cup diskNames) :
       /\ names \cap diskNames \subseteq N
       /\ names' = N /\ diskNames' = N
       /\ \E lost \in SUBSET (data \ disk) :
            LET left == {r \in (data \ lost) \cup disk : r.segment \in N}
            IN  data' = left /\ disk' = left
  /\ start' \in {start, diskStart} /\ diskStart' = start'
  /\ mark' \in {mark, diskMark} /\ diskMark' = mark'
  /\ UNCHANGED <<process, promised>>

-----------------------------------------------------------------------------------------------------------------------------
(* Recovery: what an open shows. Of the last segment it takes entries as long as they follow each other; the segments before it  *)
(* are whole, as far as they reach over the start. A mark says where the last segment ends, so that nothing need be scanned.      *)

Holds(b, o) == \E r \in data : r.segment = b /\ r.offset = o
RunEnd(b) == CHOOSE e \in b .. Entries : (\A o \in b .. e - 1 : Holds(b, o)) /\ (e = Entries \/ ~Holds(b, e))

\* Last segments without an entry are deleted.
Kept == {b \in names : b <= start \/ Holds(b, b)} \ {b \in names : RunEnd(b) = b /\ \A n \in names : n > b => RunEnd(n) = n}
Last == IF Kept = {} THEN None ELSE Max(Kept)
MarkCounts == mark # None /\ Kept # {} /\ mark > Last

ShownEnd ==
  IF Kept = {} THEN start
  ELSE LET e == IF MarkCounts THEN mark ELSE RunEnd(Last) IN IF e < start THEN start ELSE e

IsWhole ==
  /\ \A b \in Kept \ {Last} : LET n == Min({k \in Kept : k > b}) IN n <= start \/ RunEnd(b) >= n
  /\ Kept # {} => (Min(Kept) <= start \/ ShownEnd = start)

\* The segment that an offset is read from.
HomeOf(o) == Max({b \in Kept : b <= o})

KeptEnd(b) == LET later == {n \in Kept : n > b} IN IF later = {} THEN ShownEnd ELSE Min(later)

Recover ==
  /\ ~up /\ life < Crashes
  /\ LET e == ShownEnd
         kept == {b \in Kept : KeptEnd(b) > start}
     IN  /\ names' = kept /\ diskNames' = kept
         /\ data' = {r \in data : r.segment \in kept /\ r.offset < e /\ r.offset < KeptEnd(r.segment)}
         /\ disk' = data'
         /\ end' = e /\ written' = e /\ synced' = e
         /\ base' = IF kept = {} THEN e ELSE Max(kept)
         /\ acked' = e
         /\ mark' = IF kept = {} \/ ~MarkCounts THEN None ELSE mark
         /\ diskMark' = mark'
  /\ up' = TRUE /\ ready' = FALSE
  /\ start' = start /\ diskStart' = start /\ ackedStart' = start
  /\ life' = life + 1
  /\ UNCHANGED appended

Next ==
  \/ Append \/ MakeSegment \/ Prepare \/ Write \/ Sync \/ Acknowledge \/ Roll
  \/ MoveStart \/ SyncStart \/ AcknowledgeStart \/ Delete \/ SyncFolder \/ BeginClose \/ EndClose
  \/ Kill \/ PowerCut \/ Recover

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------------------------------------------------------
(* The promise, whenever the log is down.                                                                                       *)

Promise ==
  ~up => /\ IsWhole
         /\ ShownEnd >= acked
         /\ start >= ackedStart
         /\ \A o \in start .. ShownEnd - 1 : [segment |-> HomeOf(o), offset |-> o, life |-> appended[o]] \in data
=============================================================================================================================
