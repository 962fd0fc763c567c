"""What runs beside ansible-playbook: Ansible's plugins, which are doors to it, and its programs."""
