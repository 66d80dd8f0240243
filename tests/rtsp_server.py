"""Debian's GStreamer RTSP server with an account, run by the system's own python3, which has its bindings.

`python3 rtsp_server.py USER PASSWORD h264|mjpeg WIDTH HEIGHT` says its port in one line, and serves /main until killed.
"""

import sys

ENCODED = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96",
    "mjpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
}


def main(user: str, password: str, codec: str, width: str, height: str) -> None:
    """Serve until killed."""
    import gi  # Debian's, not of the environment that runs the tests

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtsp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern=smpte ! video/x-raw,format=I420,width={width},height={height},"
        f"framerate=10/1 ! {ENCODED[codec]} )"
    )
    factory.set_shared(True)
    factory.add_role_from_structure(
        Gst.Structure.new_from_string("viewer,media.factory.access=true,media.factory.construct=true")
    )
    server.get_mount_points().add_factory("/main", factory)
    server.attach(None)
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
