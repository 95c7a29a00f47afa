# Plays a title with playbin3 in real time, changes its rendition by what
# GStreamer is told about its connection, and goes on with another address. Run
# by gstreamer_watch.go: python3 -c … URL HEIGHT yes|no, with the height of the
# best rendition. On stdout a JSON line for each picture: {"at": nanoseconds of
# the title, "file": name}, or {"renew": true}, which asks for the other address
# on stdin, or {"fault": text}.
import json
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst

Gst.init(None)
URL, BEST, AGAIN = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "yes"
FAST, SLOW = 20000, 300  # kbit/s
ON = 2 * Gst.SECOND  # to play with the other address

loop = GLib.MainLoop()
player = Gst.ElementFactory.make("playbin3")
demuxers = []
sizes = []  # heights in the order in which they came
seen = {"at": 0, "ends": None, "from": None, "starting": False}


def tell(**line):
    print(json.dumps(line), flush=True)


def fault(text):
    tell(fault=text)
    loop.quit()


def speed(kbits):
    for d in demuxers:
        d.set_property("connection-speed", kbits)


def added(_bin, _sub, element):
    factory = element.get_factory()
    if factory and factory.get_name() in ("hlsdemux2", "dashdemux2"):
        demuxers.append(element)
        element.set_property("connection-speed", FAST)
        # What lies ready is played before another rendition is.
        element.set_property("max-buffering-time", 2 * Gst.SECOND)
        element.set_property("high-watermark-time", Gst.SECOND)
        element.set_property("low-watermark-time", Gst.SECOND // 2)


# gaps watches a stream for holes: a viewer would see or hear them.
def gaps(sink, kind, slack):
    def passed(identity, buf):
        if seen["starting"] or buf.pts == Gst.CLOCK_TIME_NONE:
            return
        end = seen.get(kind)
        if end is not None and abs(buf.pts - end) > slack:
            GLib.idle_add(fault, "%s jumps by %.3f s" % (kind, (buf.pts - end) / Gst.SECOND))
        seen[kind] = buf.pts + buf.duration
        if kind == "picture":
            height = identity.get_static_pad("sink").get_current_caps().get_structure(0).get_int("height")[1]
            if not sizes or sizes[-1] != height:
                sizes.append(height)
                speed(SLOW if height == BEST else FAST)
    sink.get_by_name("watch").connect("handoff", passed)


pictures = Gst.parse_bin_from_description(
    "identity name=watch signal-handoffs=true ! videoconvert ! videorate drop-only=true ! video/x-raw,framerate=5/1"
    " ! pngenc compression-level=1 ! multifilesink name=files post-messages=true sync=true location=v%05d.png", True)
sound = Gst.parse_bin_from_description("identity name=watch signal-handoffs=true ! fakesink sync=true", True)
gaps(pictures, "picture", 5 * Gst.MSECOND)
gaps(sound, "sound", 5 * Gst.MSECOND)
player.set_property("uri", URL)
player.set_property("video-sink", pictures)
player.set_property("audio-sink", sound)
player.connect("deep-element-added", added)


def renew():
    player.set_state(Gst.State.PAUSED)
    tell(renew=True)
    address = sys.stdin.readline().strip()
    player.set_state(Gst.State.READY)
    demuxers.clear()
    for kind in ("picture", "sound"):
        seen.pop(kind, None)
    seen["from"], seen["ends"], seen["starting"] = seen["at"], seen["at"] + ON, True
    pictures.get_by_name("files").set_property("location", "w%05d.png")
    player.set_property("uri", address)
    player.set_state(Gst.State.PAUSED)


def message(_bus, msg):
    if msg.type == Gst.MessageType.ERROR:
        fault(str(msg.parse_error()))
    elif msg.type == Gst.MessageType.EOS:
        fault("it is at its end with the heights %s" % sizes)
    elif msg.type == Gst.MessageType.ASYNC_DONE and seen["starting"]:
        seen["starting"] = False
        player.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH | Gst.SeekFlags.ACCURATE, seen["from"])
        player.set_state(Gst.State.PLAYING)
    elif msg.type == Gst.MessageType.ELEMENT and msg.get_structure().get_name() == "GstMultiFileSink":
        s = msg.get_structure()
        at = s.get_value("stream-time")
        name = s.get_value("filename")
        if seen["from"] is not None and (name.startswith("v") or at < seen["from"] - Gst.SECOND // 5):
            return  # of the address before, or from before the seek
        seen["at"] = at
        tell(at=at, file=name)
        if seen["ends"] is not None:
            if at >= seen["ends"]:
                loop.quit()
        elif len(sizes) >= 3:
            seen.setdefault("third", at)
            if at - seen["third"] > Gst.SECOND:
                renew() if AGAIN else loop.quit()


bus = player.get_bus()
bus.add_signal_watch()
bus.connect("message", message)
player.set_state(Gst.State.PLAYING)
loop.run()
player.set_state(Gst.State.NULL)
