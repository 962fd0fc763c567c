"""What each playbook is asked on the command line."""

from collections.abc import Mapping

# What a playbook is asked, beside the settings of an inventory: the name on the command line, and
# the variable of a role that has it. Another playbook does not read them.
VERSION = {"version": "app_version"}
QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "site": {"rebuild": "backup_rebuild", **VERSION},
    "provision": {"rebuild": "backup_rebuild"},
    "deploy": VERSION,
    "rollback": {
        "release": "release_to",
        "env": "release_environment",
        "force": "release_force",
    },
    "releases": {},
    "run": {"cmd": "release_command"},
    "maintenance": {
        "state": "release_maintenance",
        "duration": "release_maintenance_for",
        "message": "release_maintenance_message",
    },
    "restore": {
        "what": "restore_what",
        "app": "restore_app",
        "to": "restore_to",
        "xid": "restore_xid",
        "point": "restore_point",
        "repo": "restore_repository",
        "timeline": "restore_timeline",
        "into": "restore_into",
        "undo": "restore_undo",
        "confirm": "restore_confirm",
    },
    "remove": {"confirm": "remove_confirm"},
    "status": {},
    "upgrade": {
        "postgresql": "upgrade_postgresql",
        "reboot": "upgrade_reboot",
        "remove_old": "upgrade_remove_old",
        "confirm": "upgrade_confirm",
    },
}
# Settings that inventories have for all playbooks, and that a user may think are asked of these.
NOT_READ = {"rollback": {"app_version": "release", "version": "release"}}
