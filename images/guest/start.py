"""Starts the agent; with the argument `cloud`, the agent of a prepared cloud image."""
import sys

sys.path.insert(0, "/usr/lib/kvmc")

if __name__ == "__main__":
    if sys.argv[1:] == ["cloud"]:
        from agent.cloud import main
    else:
        from agent.main import main
    main()
